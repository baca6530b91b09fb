"""The public API, all that a plugin may use. Names are imported when they are first used."""

from .backbone import (
    Autoencoder as Autoencoder,
    Backbone as Backbone,
    Discriminator as Discriminator,
    Parts as Parts,
    square_misfit as square_misfit,
)
from .data import (
    Dataset as Dataset,
    Domain as Domain,
    ImageSet as ImageSet,
    Modes as Modes,
    Source as Source,
    Splits as Splits,
    divide as divide,
    to_float as to_float,
    to_uint8 as to_uint8,
)
from .errors import UserError as UserError
from .files import (
    cache_folder as cache_folder,
    locate as locate,
    sha256_of as sha256_of,
    write_atomically as write_atomically,
)
from .hookspecs import hookimpl as hookimpl
from .idx import MNIST_FILES as MNIST_FILES, idx_downloads as idx_downloads, load_idx as load_idx
from .images import (
    IMAGE_SUFFIXES as IMAGE_SUFFIXES,
    Encoded as Encoded,
    ImageFiles as ImageFiles,
    image_files as image_files,
    image_header as image_header,
    image_names as image_names,
    read_image as read_image,
    undamaged as undamaged,
    write_images as write_images,
    write_split as write_split,
)
from .kernels import (
    dot_kernel as dot_kernel,
    gaussian_kernel as gaussian_kernel,
    mmd_squared as mmd_squared,
    rational_quadratic_kernel as rational_quadratic_kernel,
    witness as witness,
)
from .layers import (
    JointDiscriminator as JointDiscriminator,
    draw_normal as draw_normal,
    draw_truncated as draw_truncated,
    norm_of_maps as norm_of_maps,
    norm_of_units as norm_of_units,
    normalise_weights as normalise_weights,
)
from .losses import (
    discriminator_loss as discriminator_loss,
    gradient_norms as gradient_norms,
    gradient_penalty as gradient_penalty,
    hinge_discriminator_loss as hinge_discriminator_loss,
    input_gradients as input_gradients,
    nonsaturating_loss as nonsaturating_loss,
    points_between as points_between,
    saturating_loss as saturating_loss,
    squared_gradient_norms as squared_gradient_norms,
    squared_jacobian_norms as squared_jacobian_norms,
)
from .metrics import (
    Embedding as Embedding,
    Extractor as Extractor,
    Features as Features,
    Metric as Metric,
    Scene as Scene,
    frechet_distance as frechet_distance,
)
from .options import suggestion as suggestion
from .pairs import translation as translation
from .preset import Entry as Entry, Preset as Preset, Published as Published
from .seeds import derive as derive, seeded as seeded
from .sources import (
    Download as Download,
    fetch as fetch,
    prepared as prepared,
    tree_digest as tree_digest,
)
from .types import (
    Batch as Batch,
    Clock as Clock,
    Count as Count,
    Curve as Curve,
    DataSpec as DataSpec,
    Fraction as Fraction,
    NonNegative as NonNegative,
    Norm as Norm,
    Positive as Positive,
    Task as Task,
    Update as Update,
    Value as Value,
    digest as digest,
)
from .variant import Control as Control, Variant as Variant

__version__: str
