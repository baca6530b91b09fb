"""Two plugins of one name: told wherever the name is used, and harming nobody who does not use it."""

from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner, Result

from ganbench import UserError
from ganbench.cli import main
from ganbench.runs.former import lookup_in, table_of
from ganbench.runs.plan import Request, expand, plan
from ganbench.runs.presets import plan_preset
from ganbench.runs.registry import Registry, discover
from ganbench.testing.subject import subject_of

TESTS = Path(__file__).parents[1]
TINY, PRESET = TESTS / "tiny_plugin.py", TESTS / "preset_plugin.py"
IMPORTS = "from ganbench import Backbone, Dataset, Extractor, Metric, Preset, Variant, hookimpl\n"
CLAIMS = {
    "variant": """
        class Claimed(Variant):
            name, family = "NAME", "twins"
            def build(self, parts): ...
            def optimizers(self): ...
            def step(self, batch, clock): yield

        @hookimpl
        def ganbench_variants(): return [Claimed]
    """,
    "dataset": """
        class Claimed(Dataset):
            name = "NAME"
            def load(self, root, size): ...

        @hookimpl
        def ganbench_datasets(): return [Claimed()]
    """,
    "backbone": """
        class Claimed(Backbone):
            name = "NAME"
            def __call__(self, data): ...

        @hookimpl
        def ganbench_backbones(): return [Claimed()]
    """,
    "metric": """
        @hookimpl
        def ganbench_metrics(): return [Metric("NAME", lambda scene: {})]
    """,
    "extractor": """
        class Claimed(Extractor):
            name = "NAME"
            def prepare(self, dataset, data, weights, device): ...

        @hookimpl
        def ganbench_extractors(): return [Claimed()]
    """,
    "preset": """
        @hookimpl
        def ganbench_presets(): return [Preset("NAME", "", "", (), (), {})]
    """,
}


def claim(kind: str, name: str) -> str:
    return IMPORTS + dedent(CLAIMS[kind]).replace("NAME", name)


@pytest.fixture
def twins(install):
    """Let two distributions claim a name."""

    def make(kind: str, name: str) -> None:
        for distribution in ("first-one", "second-one"):
            install(distribution, claim(kind, name))

    return make


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def dry_run(*arguments: str, variants: str = "plain", dataset: str = "tiny") -> Result:
    wanted = ("--plugin", str(TINY), "--seeds", "1", "--variants", variants, "--dataset", dataset)
    return call("run", "--dry-run", *wanted, *arguments)


def both_named(result: Result, kind: str, name: str) -> bool:
    told = f"two plugins claim the {kind} {name!r}: "
    return result.exit_code == 2 and told in result.stderr and "one (first-one 1.2)" in result.stderr


@pytest.mark.parametrize("variants", ["shared", "plain,shared", "family:twins,shared", "all,shared", "*,shared"])
def test_a_variant_that_is_named_by_itself_is_an_error(variants, twins):
    twins("variant", "shared")
    result = dry_run(variants=variants)
    assert both_named(result, "variant", "shared") and "second-one (second-one 1.2); uninstall one" in result.stderr


@pytest.mark.parametrize("variants", ["plain,sha*", "plain,family:twins", "[ps][lh]a*,sh?red"])
def test_a_variant_that_a_pattern_stands_for_is_skipped_and_the_others_go_on(variants, twins):
    twins("variant", "shared")
    result = dry_run(variants=variants)
    assert result.exit_code == 0, result.output
    assert "Skipped: shared on tiny: two plugins claim the variant 'shared': first-one" in result.stderr
    assert "1 runs" in result.stdout and "plain" in result.stdout


def test_all_leaves_it_out_with_its_reason(twins):
    twins("variant", "gan")  # with that of ganbench three
    names, claimed = expand(("all",), "variant", discover())
    assert "wgan" in names and "gan" not in names
    assert list(claimed) == ["gan"] and "3 plugins claim the variant 'gan': " in claimed["gan"]
    assert "ganbench" in claimed["gan"] and "second-one" in claimed["gan"]


def test_where_nothing_else_is_left_there_is_nothing_to_run(twins):
    twins("variant", "shared")
    result = dry_run(variants="sha*")
    assert result.exit_code == 2
    assert "Skipped: shared on tiny: two plugins claim" in result.stderr and "nothing to run" in result.stderr


def test_on_each_data_set_the_skip_is_told(twins):
    twins("variant", "shared")
    registry = discover([TINY])
    made = plan(Request(["plain", "sha*"], ["tiny", "digits"], seeds=1), registry)
    assert [(skip.variant, skip.dataset) for skip in made.skips] == [("shared", "tiny"), ("shared", "digits")]
    assert [job.spec.dataset for job in made.jobs] == ["tiny", "digits"]


def test_a_file_and_a_distribution_are_both_named(install):
    install("first-one", claim("variant", "plain"))
    result = dry_run()
    assert both_named(result, "variant", "plain") and str(TINY) in result.stderr
    assert "leave out its --plugin" in result.stderr


@pytest.mark.parametrize(
    ("kind", "name", "more"),
    [
        ("backbone", "net", ("--backbone", "net")),
        ("dataset", "shared", ("--dataset", "shared")),
        ("dataset", "shared", ("--dataset", "shared:x")),
        ("metric", "score", ("--metrics", "score")),
        ("metric", "score", ("--marks-metrics", "score")),
        ("preset", "table", ("--preset", "table")),
    ],
)
def test_a_clash_of_any_kind_is_an_error_where_it_is_asked_for_and_nowhere_else(kind, name, more, twins):
    twins(kind, name)
    assert dry_run().exit_code == 0
    assert both_named(dry_run(*more), kind, name)


@pytest.mark.parametrize(("kind", "name"), [("backbone", "mlp"), ("dataset", "tiny"), ("metric", "tiny-mean")])
def test_a_clash_of_a_default_is_an_error(kind, name, install):
    install("first-one", claim(kind, name))
    assert both_named(dry_run(), kind, name)


def test_a_clash_of_a_default_that_is_replaced_harms_nobody(install):
    install("first-one", claim("metric", "tiny-mean"))
    assert dry_run("--metrics", "grad-norm-g").exit_code == 0


def test_a_clash_of_an_extractor_is_an_error_for_the_metrics_that_see_through_it(twins, tmp_path):
    twins("extractor", "eyes")
    file = tmp_path / "seer.py"
    source = claim("metric", "seen").replace("lambda scene: {}", 'lambda scene: {}, extractor="eyes"')
    file.write_text(source)
    assert dry_run("--plugin", str(file)).exit_code == 0
    assert both_named(dry_run("--plugin", str(file), "--metrics", "seen"), "extractor", "eyes")


def test_a_preset_that_names_it_is_an_error_unless_it_is_left_out(install):
    install("first-one", claim("variant", "wgan"))
    registry = discover([PRESET])

    def planned(*variants: str):
        asked = {"variants": variants} if variants else {}
        return plan_preset("tiny-table", 1.0, Request([], [], settings=()), asked, registry)

    for variants in ((), ("wgan",), ("gan", "wgan")):
        with pytest.raises(UserError, match="two plugins claim the variant 'wgan': "):
            planned(*variants)
    assert {job.spec.variant for job in planned("gan").jobs} == {"gan"}
    made = planned("gan", "w*")
    assert {job.spec.variant for job in made.jobs} == {"gan"}
    assert {skip.variant for skip in made.skips} == {"wgan"} and "two plugins claim" in made.skips[0].reason


def test_it_is_listed(twins):
    twins("metric", "score")
    for what in ("all", "metrics", "variants"):
        result = call("list", what)
        assert result.exit_code == 0
        assert "Clash: two plugins claim the metric 'score': first-one (first-one 1.2) and second-one" in result.stderr


def test_it_is_not_checked(twins):
    twins("variant", "shared")
    assert both_named(call("check", "shared"), "variant", "shared")


def test_a_check_goes_on_without_a_backbone_that_two_plugins_claim(install):
    install("first-one", claim("backbone", "dcgan"))
    registry = discover([TINY])
    assert subject_of("plain", registry=registry).backbone.name != "dcgan"
    for name, owners in list(registry.entries["backbone"].items()):
        registry.entries["backbone"][name] = owners * (2 if len(owners) == 1 else 1)
    with pytest.raises(UserError, match=r"plain fits none.*: two plugins claim the backbone 'dcgan'"):
        subject_of("plain", registry=registry)


def test_a_probe_of_it_is_an_error(twins, tmp_path):
    twins("variant", "shared")
    wanted = ("probe", "--dataset", "tiny", "--plugin", str(TINY), "--results", str(tmp_path))
    for variant in ("shared", "sha*"):
        said = call(*wanted, "--variant", variant)
        assert said.exit_code == 2 and "two plugins claim the variant 'shared': " in said.stderr


def test_an_old_record_is_of_neither_where_the_two_run_other_code():
    registry = discover([TINY])
    entry = registry.get("variant", "plain")

    def lookup(*key):
        owners = registry.entries["variant"]["plain"]
        return lookup_in(table_of(("variant", owner) for owner in owners))(*key)

    assert lookup("variant", "plain", entry.origin.sha256).code == entry.code

    twin = replace(entry)
    registry.entries["variant"]["plain"].append(twin)
    assert lookup("variant", "plain", entry.origin.sha256).code == entry.code  # the same twice is no question
    twin.__dict__["code"] = "of other modules beside it"
    assert lookup("variant", "plain", entry.origin.sha256) is None


def test_no_clash_where_there_is_one_owner_or_none():
    registry = discover()
    assert registry.clash("variant", "gan") is None and registry.clash("variant", "no-such") is None
    assert Registry().clash("metric", "fid") is None
