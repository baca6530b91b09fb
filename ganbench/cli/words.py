"""What newcomers write on the command line, and what they mean: words of other tools, by command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Words = dict[str, tuple[str, str]]
"""By option without its hyphens: what to write, with `{}` for the value, and what stands for one that is missing."""


def _words(*rows: tuple[str, str, str]) -> Words:
    return {name: (hint, missing) for names, hint, missing in rows for name in names.split()}


_RESULTS = (
    "out output outputs out-dir outdir output-dir output-folder result results-dir results-folder save save-dir "
    "save-path log-dir logdir run-dir workdir dir folder input"
)
_COMMON = _words(
    (_RESULTS, "write --results {}", "FOLDER"),
    ("plugins plugin-file file", "write --plugin {}, once for each file", "FILE.py"),
    ("json-output as-json to-json", "write --json", ""),
    ("version", "write ganbench --version", ""),
)
_TRAINING = _words(
    ("data-set datasets", "write --dataset {}", "NAME"),
    ("data-dir data-root dataroot data-path data-folder root", "write --data {}", "FOLDER"),
    ("batch-size batchsize bs minibatch", "write --batch {}", "IMAGES"),
    ("image-size img-size imsize imagesize resolution res crop", "write --size {}", "PIXELS"),
    ("gpu cuda use-cuda", "write --device cuda, or cuda:1 for the second one", ""),
    ("gpus num-gpus n-gpus ngpu ngpus world-size nproc nproc-per-node ddp", "write --devices {}", "N"),
    ("cpu no-cuda no-gpu use-cpu", "write --device cpu", ""),
    ("mps", "write --device mps", ""),
    ("arch architecture network backbones net", "write --backbone {}", "NAME"),
    ("learning-rate learningrate", "write --set lr={}", "VALUE"),
    ("width", "write --set width={}", "VALUE"),
    ("opt opts option options config cfg param params hparams hyperparameters", "write --set KEY=VALUE", ""),
    (
        "resume continue load checkpoint restore",
        "there is nothing to add, since the same command given again continues where it was",
        "",
    ),
)
WORDS: Mapping[str, Words] = {
    "run": _COMMON
    | _TRAINING
    | _words(
        ("variant model models gan gans method methods algorithm algo", "write --variants {}", "NAMES"),
        ("metric scores", "write --metrics {}", "NAMES"),
        ("epochs epoch n-epochs num-epochs max-epochs nepochs", "write --budget {}-epochs", "N"),
        (
            "steps step iterations iteration iters iter niter n-iter n-iters num-iterations max-iter max-steps n-steps "
            "num-steps train-steps updates n-updates",
            "write --budget {}-updates",
            "N",
        ),
        ("images n-images num-images total-images", "write --budget {}-images", "N"),
        ("kimg total-kimg", "write --budget {}k-images", "N"),
        ("flops", "write --budget {}-flops", "N"),
        ("seconds time max-time duration", "write --budget {}-seconds", "N"),
        ("minutes hours", "write --budget N-seconds", ""),
        (
            "seed random-seed manual-seed",
            "write --seeds N for the seeds 0 to N-1, or --seeds 7-7 for seed 7",
            "",
        ),
        ("repeats repetitions runs n-runs n-seeds num-seeds", "write --seeds {}", "N"),
        ("workers num-workers n-jobs njobs parallel threads processes procs", "write --jobs {}", "N"),
        ("sample n-samples num-samples n-fake", "write --samples {}", "N"),
        ("evals n-evals eval-every evaluations checkpoints", "write --marks N, the evaluations of a budget", ""),
        ("amp fp16 bf16 half mixed-precision autocast", "write --precision bf16", ""),
        ("tf32 allow-tf32 use-tf32", "write --precision tf32", ""),
        ("cuda-graph cuda-graphs graph graphs", "write --compile graph", ""),
        ("no-compile no-graph no-graphs", "write --compile off", ""),
        (
            "force overwrite fresh restart again no-resume",
            "a finished run is not made again: name other --results, or remove its record",
            "",
        ),
        ("plan simulate check", "write --dry-run", ""),
        ("tensorboard tb tb-dir logger tracker track", "write --observe tensorboard", ""),
        ("wandb use-wandb wandb-project", "write --observe wandb, or wandb:PROJECT", ""),
        ("mlflow", "write --observe mlflow, or mlflow:URI", ""),
        ("trackio", "write --observe trackio, or trackio:PROJECT", ""),
        ("webhook webhook-url notify", "write --observe webhook:{}", "URL"),
        ("silent q no-progress no-bar disable-tqdm quietly", "write --quiet", ""),
        ("format csv markdown table", "give `ganbench report --format csv` afterwards", ""),
    ),
    "probe": _COMMON
    | _TRAINING
    | _words(
        ("variants model models gan gans method algorithm algo", "write --variant {}, one alone", "NAME"),
        ("epochs epoch n-epochs num-epochs budget", "write --at 1,10,25, the epochs of training before each probe", ""),
        ("steps step iters iter niter n-iter max-iter max-steps n-steps updates", "write --iterations {}", "N"),
        ("seeds random-seed manual-seed", "write --seed N, one seed", ""),
    ),
    "status": _COMMON | _words(("follow f live refresh loop continuous interval every", "write --watch", "")),
    "check": _COMMON
    | _words(("variant variants model name names", "write the name alone, as in ganbench check {}", "NAME")),
    "list": _COMMON
    | _words(
        ("executor executors", "write ganbench list executors", ""),
        *(
            (f"{kind} {kind}s", f"write ganbench list {kind}s", "")
            for kind in ("variant", "dataset", "backbone", "metric", "extractor", "preset", "observer", "experiment")
        ),
    ),
    "report": _COMMON
    | _words(
        (
            "out outfile output-file save save-to file to",
            "write --output {}",
            "FILE",
        ),
        ("csv", "write --format csv", ""),
        ("latex tex", "write --format latex", ""),
        ("variant model models gan gans method methods", "write --variants {}", "NAMES"),
        ("datasets data-set data-sets", "write --dataset {}", "NAMES"),
        ("metric metrics column select", "write --columns {}", "NAMES"),
        ("sort-by order order-by by rank", "write --sort {}", "NAME"),
        ("filter only query set seed batch", "write --where KEY=VALUE", ""),
        ("protocol legend full", "write --protocols", ""),
        ("markdown md table", "write --format markdown", ""),
        ("details per-run run by-run", "write --runs", ""),
        ("all all-columns wide", "write --columns all", ""),
    ),
    "plot": _COMMON
    | _words(
        ("out outfile output-file save save-to file to", "write --output {}", "FILE.pdf"),
        ("format", "the suffix of --output says the format", ""),
        ("metric metrics quantity y column columns", "name it first, as in ganbench plot {}", "fid"),
        ("variant model models gan gans method methods", "write --variants {}", "NAMES"),
        ("datasets data-set data-sets", "write --dataset {}", "NAMES"),
        ("filter only query set seed batch", "write --where KEY=VALUE", ""),
        ("x x-axis axis", "write --over {}", "images"),
        ("pareto front", "write --cost flops", ""),
        ("size figsize inches", "write --width {}", "INCHES"),
        ("logy log-y log-scale logscale", "write --log", ""),
        ("runs per-run run by-run seeds all", "write --raw", ""),
    ),
    "show": _COMMON
    | _words(
        ("run id seed variant variants model name names", "write the run alone, as in ganbench show {}", "ID"),
        ("view launch display browser", "write --open", ""),
    ),
    "sample": _COMMON
    | _words(
        (f"{_RESULTS} outfile output-file save-to file to", "write --output {}", "FOLDER or FILE.npz"),
        ("samples n-samples num-samples num number count images", "write -n {}", "N"),
        ("label labels classes y cls", "write --class {}", "N"),
        ("ema averaged average", "write --weights ema", ""),
        ("random-seed seeds manual-seed", "write --seed {}", "N"),
    ),
    "score": _COMMON
    | _words(
        ("metric scores", "write --metrics {}", "NAMES"),
        ("samples n-samples num-samples num number count", "write -n {}", "N"),
        ("real reference ref dataset data-set", "name the reference second, as in ganbench score A {}", "B"),
        ("fake generated input path", "name the samples first, as in ganbench score {} B", "A"),
        ("image-size img-size resolution res resize", "write --size {}", "PIXELS"),
        ("gpu gpus cuda use-cuda", "write --device cuda, or cuda:1 for the second one", ""),
    ),
    "cache prune": _words(("age days older", "write --older-than {}", "DAYS")),
}
COMMANDS: Mapping[str, Mapping[str, str]] = {
    "": dict.fromkeys(("train", "fit", "start", "benchmark", "bench", "resume", "go", "make"), "run")
    | dict.fromkeys(("table", "print", "compare", "summary", "export"), "report")
    | dict.fromkeys(("figure", "fig", "curve", "curves", "chart", "graph", "pareto"), "plot")
    | dict.fromkeys(("ls", "plugins", "variants", "datasets", "backbones", "metrics", "presets", "info"), "list")
    | dict.fromkeys(("protocol", "diff", "describe"), "explain")
    | dict.fromkeys(("test", "validate", "conformance", "lint"), "check")
    | dict.fromkeys(("gradients", "gradient"), "probe")
    | dict.fromkeys(("open", "view", "find", "where", "paths", "files", "pictures", "images", "runs"), "show")
    | dict.fromkeys(("generate", "draw", "synthesize", "samples"), "sample")
    | dict.fromkeys(("evaluate", "eval", "measure", "fid"), "score")
    | dict.fromkeys(("progress", "watch", "monitor", "top", "ps", "jobs", "eta", "tail"), "status")
    | dict.fromkeys(("diagnose", "selftest", "self-test", "env", "version", "versions"), "doctor")
    | dict.fromkeys(("merge", "verify", "upgrade"), "results {}")
    | dict.fromkeys(("prune", "clean", "clear"), "results prune` or `ganbench cache prune"),
    "results": dict.fromkeys(("clean", "clear", "remove", "delete", "rm", "gc"), "results prune")
    | dict.fromkeys(("show", "list", "ls", "table", "report"), "report")
    | dict.fromkeys(("check", "test", "validate", "fsck"), "results verify")
    | dict.fromkeys(("join", "combine", "add", "import", "copy"), "results merge")
    | dict.fromkeys(("migrate", "update", "convert"), "results upgrade"),
    "cache": dict.fromkeys(("clean", "clear", "remove", "delete", "rm", "empty", "purge"), "cache prune")
    | dict.fromkeys(("show", "list", "ls", "info", "size"), "cache"),
}
"""By group, the command that is meant by another word."""


def known(path: str) -> Words:
    """Return the words of a command, by its path below `ganbench`."""
    return WORDS.get(path, _COMMON)


def meant(group: str, word: str, commands: Iterable[str]) -> str | None:
    """Return the command that a word stands for in a group, or None."""
    return None if word in commands else COMMANDS.get(group, {}).get(word.lower(), "").format(word.lower()) or None
