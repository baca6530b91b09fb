"""The public API: the commands as functions, and all that a plugin may use. Names are imported when first used."""

from .api import Samples as Samples, experiment as experiment, run as run, sample as sample, score as score
from .contract.backbone import (
    Autoencoder as Autoencoder,
    Backbone as Backbone,
    Discriminator as Discriminator,
    Parts as Parts,
)
from .contract.data import (
    Dataset as Dataset,
    Domain as Domain,
    ImageSet as ImageSet,
    Modes as Modes,
    Source as Source,
    Splits as Splits,
    to_float as to_float,
    to_uint8 as to_uint8,
)
from .contract.executors import (
    Depot as Depot,
    Executor as Executor,
    News as News,
    Order as Order,
    Terms as Terms,
)
from .contract.experiments import (
    Claim as Claim,
    Course as Course,
    Experiment as Experiment,
    Finding as Finding,
    Lab as Lab,
    Made as Made,
    Plain as Plain,
    Table as Table,
)
from .contract.hookspecs import hookimpl as hookimpl
from .contract.metrics import (
    Embedding as Embedding,
    Extractor as Extractor,
    Features as Features,
    Metric as Metric,
    Past as Past,
    Scene as Scene,
)
from .contract.observers import (
    Happening as Happening,
    Measured as Measured,
    ObservedRun as ObservedRun,
    Observer as Observer,
    RunEnded as RunEnded,
    RunMarked as RunMarked,
    RunStarted as RunStarted,
    RunTicked as RunTicked,
    Spent as Spent,
    SweepEnded as SweepEnded,
    SweepStarted as SweepStarted,
)
from .contract.preset import Entry as Entry, Preset as Preset, Published as Published
from .contract.types import (
    Batch as Batch,
    Clock as Clock,
    Count as Count,
    Curve as Curve,
    DataSpec as DataSpec,
    Fraction as Fraction,
    NonNegative as NonNegative,
    Norm as Norm,
    Positive as Positive,
    Setting as Setting,
    Task as Task,
    Update as Update,
    Value as Value,
    digest as digest,
)
from .contract.variant import Control as Control, Variant as Variant
from .errors import UserError as UserError, suggestion as suggestion
from .files import (
    cache_folder as cache_folder,
    locate as locate,
    parted as parted,
    path_name as path_name,
    printable as printable,
    sha256_of as sha256_of,
    write_atomically as write_atomically,
)
from .results.bands import draw_bands as draw_bands, draw_measured as draw_measured
from .results.beside import draw_beside as draw_beside
from .results.follows import (
    Followed as Followed,
    best_first as best_first,
    draw_followed as draw_followed,
    follow_distance as follow_distance,
    rank_correlation as rank_correlation,
)
from .results.frame import load as load
from .results.measured import measure_runs as measure_runs
from .results.named import short_rows as short_rows
from .results.over_seeds import (
    differences as differences,
    dots_over_seeds as dots_over_seeds,
    heat_map_over_seeds as heat_map_over_seeds,
    side_of_zero as side_of_zero,
    table_over_seeds as table_over_seeds,
)
from .results.statistics import mean_with_interval as mean_with_interval
from .results.verdicts import (
    above_zero as above_zero,
    all_are as all_are,
    at_most as at_most,
    by_seed as by_seed,
    compared as compared,
    ends_of as ends_of,
    mean_of as mean_of,
    of_all as of_all,
    with_interval as with_interval,
)
from .scoring.forgetting import (
    JudgedMarks as JudgedMarks,
    judge_marks as judge_marks,
    protocol_of_marks as protocol_of_marks,
)
from .scoring.latents import Latents as Latents
from .scoring.modes import modes_film as modes_film, modes_over as modes_over
from .scoring.sums import (
    SUMS_NOTE as SUMS_NOTE,
    arithmetic_shares as arithmetic_shares,
    attributes_of as attributes_of,
    examples as examples,
    sums_of as sums_of,
)
from .scoring.walks import WALKS_NOTE as WALKS_NOTE, stations as stations, walks as walks
from .seeds import derive as derive, seeded as seeded
from .toolbox.augment import Augmentation as Augmentation
from .toolbox.dirac import (
    PSI as PSI,
    THETA as THETA,
    Dirac as Dirac,
    DiracMap as DiracMap,
    damped_radius as damped_radius,
    dirac_data as dirac_data,
    equilibrium as equilibrium,
)
from .toolbox.divergences import (
    F_DIVERGENCES as F_DIVERGENCES,
    FDivergence as FDivergence,
    density_between as density_between,
    distances_of_gaussians as distances_of_gaussians,
    distances_of_lines as distances_of_lines,
    log_normal as log_normal,
    mmd_of_shifted as mmd_of_shifted,
    variational_bound as variational_bound,
)
from .toolbox.drawn import (
    BEHIND as BEHIND,
    COLOURS as COLOURS,
    FAINT as FAINT,
    GREY as GREY,
    describe_axes as describe_axes,
    draw_band as draw_band,
    few as few,
    heat_map as heat_map,
    legend_below as legend_below,
    list_beside as list_beside,
    panels as panels,
    strokes as strokes,
)
from .toolbox.dynamics import (
    GRADIENT_DESCENT as GRADIENT_DESCENT,
    OWN_OPTIMIZERS as OWN_OPTIMIZERS,
    VERDICTS as VERDICTS,
    Dynamics as Dynamics,
    dynamics_of as dynamics_of,
)
from .toolbox.each_run import of_each_run as of_each_run
from .toolbox.filters import Filters as Filters, selectivity as selectivity
from .toolbox.frechet import frechet_distance as frechet_distance
from .toolbox.hardening import (
    GaussianNoise as GaussianNoise,
    WeightNorm as WeightNorm,
    hardened as hardened,
)
from .toolbox.holdout import divide as divide
from .toolbox.idx import MNIST_FILES as MNIST_FILES, idx_downloads as idx_downloads, load_idx as load_idx
from .toolbox.images import (
    MOST_BYTES as MOST_BYTES,
    Encoded as Encoded,
    image_header as image_header,
    read_image as read_image,
    undamaged as undamaged,
    write_images as write_images,
    write_split as write_split,
)
from .toolbox.installed import installed as installed, told_apart as told_apart
from .toolbox.joint import (
    JointDiscriminator as JointDiscriminator,
    joint_discriminator as joint_discriminator,
)
from .toolbox.judges import Judge as Judge, Judges as Judges
from .toolbox.kernels import (
    dot_kernel as dot_kernel,
    gaussian_kernel as gaussian_kernel,
    mmd_squared as mmd_squared,
    rational_quadratic_kernel as rational_quadratic_kernel,
    witness as witness,
)
from .toolbox.layers import (
    draw_normal as draw_normal,
    draw_truncated as draw_truncated,
    norm_of_maps as norm_of_maps,
    norm_of_units as norm_of_units,
    normalise_weights as normalise_weights,
)
from .toolbox.layout import (
    Layout as Layout,
    layout_of as layout_of,
    listed as listed,
    pair_splits as pair_splits,
    role_of as role_of,
    told_classes as told_classes,
)
from .toolbox.levels import dequantise as dequantise
from .toolbox.line import (
    SCALE as SCALE,
    SHIFT as SHIFT,
    Line as Line,
    TrainedOnLine as TrainedOnLine,
    judged as judged,
    line_data as line_data,
    outputs_on_line as outputs_on_line,
)
from .toolbox.lmdb import lmdb_files as lmdb_files
from .toolbox.losses import (
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
from .toolbox.modest import modest_runs as modest_runs
from .toolbox.networks import (
    MirroredParts as MirroredParts,
    SquareBackbone as SquareBackbone,
    square_misfit as square_misfit,
)
from .toolbox.npz import npz_members as npz_members, read_npz as read_npz
from .toolbox.observed import (
    Tracked as Tracked,
    by_run as by_run,
    end_of as end_of,
    finals_of as finals_of,
    plain as plain,
    scalars_of as scalars_of,
    settings_of as settings_of,
    table_of as table_of,
)
from .toolbox.optimum import (
    RATIO as RATIO,
    SIGN as SIGN,
    SLOPE as SLOPE,
    Judged as Judged,
    Optimum as Optimum,
    draw_outputs as draw_outputs,
)
from .toolbox.orders import follow as follow
from .toolbox.padding import (
    same_convolution as same_convolution,
    same_deconvolution as same_deconvolution,
)
from .toolbox.pairs import translation as translation
from .toolbox.planes import draw_eigenvalues as draw_eigenvalues, draw_paths as draw_paths
from .toolbox.prepared import prepared as prepared
from .toolbox.probed import (
    Curves as Curves,
    Probed as Probed,
    after_epochs as after_epochs,
    draw_probed as draw_probed,
    from_top as from_top,
    mean_decades as mean_decades,
    mean_norm as mean_norm,
    probe_runs as probe_runs,
    scatter as scatter,
    scatter_grows as scatter_grows,
)
from .toolbox.pull import (
    COINCIDE as COINCIDE,
    F_PULLS as F_PULLS,
    GROWS as GROWS,
    ODD as ODD,
    STAYS as STAYS,
    VANISHES as VANISHES,
    Form as Form,
    Pull as Pull,
    draw_pulls as draw_pulls,
    join_pulls as join_pulls,
    measure_pull as measure_pull,
    pull_where_rejected as pull_where_rejected,
)
from .toolbox.ranks import (
    mean_over_ranks as mean_over_ranks,
    own_part as own_part,
    whole_batch as whole_batch,
    whole_size as whole_size,
)
from .toolbox.sources import Download as Download, fetch as fetch, tree_digest as tree_digest
from .toolbox.tiles import tiled as tiled, tiled_by_size as tiled_by_size
from .toolbox.trees import (
    IMAGE_SUFFIXES as IMAGE_SUFFIXES,
    ImageFiles as ImageFiles,
    ImageTree as ImageTree,
    image_files as image_files,
    image_names as image_names,
    image_tree as image_tree,
    is_there as is_there,
    left_out as left_out,
    listed_folders as listed_folders,
)
from .toolbox.ways import draw_ways as draw_ways

NUMBERS: int
__version__: str
