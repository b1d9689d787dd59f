"""Images with labels: where they come from, how they are split, augmented and handed out in batches.

    image_data       ImageData, what the configuration group `data` instantiates
    labelled         LabelledImages, a split as two tensors
    splits           stratified splits and subsets
    augmentation     crop, flip, cutout and normalisation as batched tensor operations
    batches          ResidentBatches and BilevelBatches, on the training device

Behind ImageData:

    source           Source, what a kind of data set provides
    hub, image_folder, digits    the kinds
    local, table     data sets in files and folders; images in the columns of a table
    stored           StoredImages and their decoding
    fingerprint      what data are, as a digest
"""

from archselect.data.augmentation import Augmentation, Normalisation
from archselect.data.decode import ImageTensors
from archselect.data.image_data import ImageData
from archselect.data.loader import Batch, BilevelBatches, DeviceLoader
from archselect.data.sources import Digits, HubImages, HuggingFaceImages, ImageFolder, Source
from archselect.data.splits import halves, stratified_split, stratified_subset

__all__ = [
    "Augmentation",
    "Batch",
    "BilevelBatches",
    "DeviceLoader",
    "Digits",
    "HubImages",
    "HuggingFaceImages",
    "ImageData",
    "ImageFolder",
    "ImageTensors",
    "Normalisation",
    "Source",
    "halves",
    "stratified_split",
    "stratified_subset",
]
