"""Supernets and the networks that are read off them."""
