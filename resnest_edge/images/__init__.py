"""The one way from a file or a frame to the pixels an engine takes."""

from resnest_edge.images.base import ImageSet, Pixels
from resnest_edge.images.batches import Batch, iter_batches
from resnest_edge.images.decode import EXTENSIONS, FORMATS, MAX_BYTES, MAX_PIXELS, decode, decode_file
from resnest_edge.images.folder import imagenet_wnids, open_images
from resnest_edge.images.listing import read_source, write_list
from resnest_edge.images.sets import ImageFiles, Subset, exclude, sample
from resnest_edge.images.transform import normalise, transform

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "Batch",
    "ImageFiles",
    "ImageSet",
    "Pixels",
    "Subset",
    "decode",
    "decode_file",
    "exclude",
    "imagenet_wnids",
    "iter_batches",
    "normalise",
    "open_images",
    "read_source",
    "sample",
    "transform",
    "write_list",
]
