"""Images with labels: where they come from, how they are split, augmented and handed out in batches."""

from archselect.data.augmentation import Augmentation, Normalisation
from archselect.data.decode import ImageTensors
from archselect.data.digits import DigitPairs, RotatedDigits
from archselect.data.downsampled import DownsampledImageNet
from archselect.data.image_data import ImageData
from archselect.data.loader import Batch, Batches, BilevelBatches, DeviceLoader
from archselect.data.shards import TarShards
from archselect.data.sources import Digits, ImageFolder, Source, Split
from archselect.data.splits import stratified_split, stratified_subset
from archselect.data.stream import Images, StreamedImages, StreamLoader, batches_of
from archselect.data.tables import HubImages, HuggingFaceImages

__all__ = [
    "Augmentation",
    "Batch",
    "Batches",
    "BilevelBatches",
    "DeviceLoader",
    "DigitPairs",
    "Digits",
    "DownsampledImageNet",
    "HubImages",
    "HuggingFaceImages",
    "ImageData",
    "ImageFolder",
    "ImageTensors",
    "Images",
    "Normalisation",
    "RotatedDigits",
    "Source",
    "Split",
    "StreamLoader",
    "StreamedImages",
    "TarShards",
    "batches_of",
    "stratified_split",
    "stratified_subset",
]
