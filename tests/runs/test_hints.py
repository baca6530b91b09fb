"""Names and paths that are none lead to the request that was meant."""

from pathlib import Path

import pytest

from ganbench import UserError
from ganbench.runs.hints import dataset_hint, require_no_file, require_plugin
from ganbench.runs.plan import Request, plan
from ganbench.runs.registry import discover
from ganbench.runs.settings import parse_settings
from ganbench.testing.kit import run_checks

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
NAMED = 'class A:\n    name = "NAME"\n'


@pytest.fixture(scope="module")
def registry():
    return discover([PLUGIN])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with what a user may have in it, and a data root beside it."""
    for folder in (
        "here/photos",
        "here/other",
        "here/a,b",
        "here/both/trainA",
        "here/both/trainB",
        "here/lsun",
        "data/faces",
    ):
        (tmp_path / folder).mkdir(parents=True)
    for file in (
        "photos.zip",
        "photos.tar.gz",
        "photos.npz",
        "PHOTOS.NPZ",
        "photos/one.PNG",
        "lsun/data.mdb",
        "notes.txt",
    ):
        (tmp_path / "here" / file).touch()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "here"))
    return tmp_path / "here"


def refused(registry, variants=("plain",), datasets=("tiny",), **more) -> str:
    with pytest.raises(UserError) as raised:
        plan(Request(variants, datasets, **more), registry)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# Options


@pytest.mark.parametrize(
    ("setting", "variants", "sentence"),
    [
        ("width=16", ("plain",), "no option 'width': mlp has it, write --set mlp.width=16"),
        ("clip=.1", ("gan", "wgan"), "gan has no option 'clip': wgan has it, write --set wgan.clip=.1"),
        ("critic_steps=2", ("gan", "wgan", "wgan-gp"), "write --set wgan.critic_steps=2 --set wgan-gp.critic_steps=2"),
        (
            "lrr=1",
            ("gan",),
            "did you mean 'lr'? (gan has lr, betas, simultaneous, ema; mlp has width, depth, z_dim, code)",
        ),
        ("Betas=1,1", ("gan",), "did you mean 'betas'?"),
        ("z-dim=8", ("gan",), "gan has no option 'z-dim': did you mean 'mlp.z_dim'?"),
        ("widht=8", ("plain",), "plain has no option 'widht': did you mean 'mlp.width'?"),
        (
            "clip=1",
            ("gan",),
            "gan has no option 'clip'; dualgan, mmd-gan and wgan have one of that name (gan has lr, betas, ",
        ),
        ("xyzzy=1", ("plain",), "plain has no option 'xyzzy' (plain has ema; mlp has width, depth, z_dim, code)"),
        ("gan.widht=1", ("gan",), "--set gan.widht: gan has no option 'widht' (it has lr, betas, simultaneous, ema)"),
        (
            "gan.width=1",
            ("gan",),
            "gan has no option 'width' (it has lr, betas, simultaneous, ema); ali, bigan, ",
        ),
        ("gan.lrr=1", ("gan",), "gan has no option 'lrr': did you mean 'lr'? (it has lr, betas, simultaneous, ema)"),
        ("plain.lr=1", ("plain",), "plain has no option 'lr' (it has ema)"),
        ("dcgan.widht=1", ("gan",), "dcgan has no option 'widht': did you mean 'width'?"),  # variant and backbone
        ("dcgan.codes=1", ("gan",), "dcgan has no option 'codes': did you mean 'code'?"),  # the backbone's alone
        ("lsgan.lr=1", ("gan",), "'lsgan' takes no part in this run, which has gan"),
        ("dcgan.width=8", ("gan",), "'dcgan' takes no part in this run, which has gan"),
        ("fid.lr=1", ("gan",), "fid has no option 'lr' (it has none)"),
        ("inception.lr=1", ("gan",), "'inception' is an extractor, which has no options"),
        ("folder:photos.test_share=.2", ("gan",), "write folder.test_share"),
        ("no-such.lr=1", ("gan",), "there is no variant, backbone, data set or metric 'no-such'"),
        ("GAN.lr=1", ("gan",), "did you mean 'gan'?"),
        ("gan.lr=1e-4,width=16", ("gan",), "'1e-4,width=16' was given; give each option a --set of its own"),
    ],
)
def test_an_option_that_nobody_has_leads_to_the_one_that_was_meant(registry, setting, variants, sentence):
    assert sentence in refused(registry, variants, settings=(setting,))


def test_the_hint_is_the_request_that_works(registry):
    made = plan(Request(("plain",), ("tiny",), settings=("mlp.width=16",), seeds=1), registry)
    assert made.jobs[0].spec.options == {"mlp.width": 16}


def test_where_many_have_an_option_three_are_written_out(registry):
    told = refused(registry, ("gan", "wgan", "wgan-gp", "dragan", "r1", "wgan-lp", "wgan-div"), settings=("penalty=1",))
    assert told.count("--set ") == 4 and told.endswith(" and so on")


@pytest.mark.parametrize("text", ["lr", "=1", "lr=", " = ", ".lr=1", "gan.=1", " .lr=1", "."])
def test_what_is_no_option_and_value_is_told(text):
    with pytest.raises(UserError, match=r"is not an option and a value: write lr=2e-4 or wgan\.clip=0\.1"):
        parse_settings([text])


# Data sets


@pytest.mark.parametrize(
    ("texts", "hint"),
    [
        (("./photos",), "write folder:./photos"),
        (("photos",), "write folder:photos"),
        (("photos/",), "write folder:photos/"),
        (("~/photos",), "write folder:~/photos"),
        (("../data/faces",), "write folder:../data/faces"),
        (("faces",), "write folder:faces"),  # in the data root
        (("a\\,b",), "write folder:a\\,b"),
        (("./photos", "other"), "write folder:./photos,folder:other, or folder-pair:./photos,other to translate"),
        (("./photos", "tiny"), "write folder:./photos"),
        (("both",), "write folder-pair:both, or folder:PATH"),
        (("lsun",), "a database of LSUN"),
        (("photos.zip",), "it is packed: unpack it and write folder:PATH"),
        (("./photos.tar.gz",), "it is packed"),
        (("photos.npz",), "write folder:photos.npz"),
        (("PHOTOS.NPZ",), "write folder:PHOTOS.NPZ"),
        (("photos/one.PNG",), "it is one image: write folder:photos for all in its folder"),
        (("notes.txt",), "no data set reads such a file"),
        (("./nothing",), "there is no folder ./nothing; images of your own are folder:PATH"),
        (("/no/such/place",), "there is no folder /no/such/place"),
        (("~/nothing",), "there is no folder ~/nothing"),
        (("C:\\photos",), None),
        (("photos\\cats",), "there is no folder photos\\cats"),
    ],
)
def test_a_path_in_the_place_of_a_data_set_is_told_what_it_can_be(here, registry, texts, hint):
    found = dataset_hint(texts, here.parent / "data")
    assert (found is None) if hint is None else (found or "").startswith(hint) or hint in (found or "")
    if hint and texts[0] != "lsun":
        told = refused(registry, datasets=texts, data_root=here.parent / "data")
        assert told.startswith(f"there is no data set {texts[0]!r}: ") and hint in told


def test_an_absolute_path_is_one_as_well(here, registry):
    assert f"write folder:{here}/photos" in refused(registry, datasets=(f"{here}/photos",))


@pytest.mark.parametrize("text", ["tinny", "mnits", "", "a" * 5000, "\0", "\ud800", "x:y"])
def test_what_is_no_path_is_an_unknown_name(here, registry, text):
    assert dataset_hint([text], here) is None
    assert "unknown dataset " in refused(registry, datasets=(text,))


# Files of plugins


@pytest.mark.parametrize(
    ("kind", "request_of"),
    [
        ("variant", {"variants": ("my-thing",)}),
        ("dataset", {"datasets": ("my-thing",)}),
        ("backbone", {"backbone": "my-thing"}),
        ("metric", {"metrics": ("my-thing",)}),
    ],
)
@pytest.mark.parametrize("file", ["my_thing.py", "my-thing.py"])
def test_a_file_called_like_an_unknown_name_is_to_be_added(here, registry, kind, request_of, file):
    assert f"unknown {kind} 'my-thing'" in refused(registry, **request_of)
    (here / file).write_text("")
    told = f"unknown {kind} 'my-thing', but there is a file {file}: add --plugin {file}"
    assert refused(registry, **request_of) == told


def test_a_check_says_so_too(here):
    (here / "my_gan.py").write_text("")
    with pytest.raises(
        UserError, match=r"^unknown variant 'my-gan', but there is a file my_gan.py: add --plugin my_gan.py$"
    ):
        run_checks("my-gan")


def test_a_file_that_was_added_and_has_other_names_is_told_with_those(here):
    file = here / "my_gan.py"
    file.write_text(PLUGIN.read_text())
    registry = discover([file])
    for name, kind, offers in (
        ("my-gan", "variant", "my_gan.py offers ends-itself, labelled, makes-nan, plain, raises, slow"),
        ("my-gan", "dataset", "my_gan.py offers tiny"),
        ("my-gan", "backbone", "my_gan.py offers no backbone"),
    ):
        with pytest.raises(UserError) as raised:
            registry.get(kind, name)
        assert str(raised.value) == f"unknown {kind} 'my-gan', but {offers}"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (NAMED.replace("NAME", "other"), "other"),
        ("", "my-gan"),
        (NAMED + NAMED.replace("NAME", "b"), "my-gan"),
        ("\0é", "my-gan"),
    ],
)
def test_a_file_in_the_place_of_a_name_is_told_with_the_name_it_has(here, source, name):
    (here / "my_gan.py").write_text(source)
    for given in ("my_gan.py", "./my_gan.py", "~/my_gan.py", str(here / "my_gan.py")):
        with pytest.raises(UserError) as raised:
            require_no_file("--variants", ["gan", given])
        expected = f"--variants {given}: this is a plugin's file; write --plugin {given} --variants {name}"
        assert str(raised.value) == expected
    require_no_file("--variants", ["gan", "my-gan", "other.py", "photos"])


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("my_gan", "there is no such file; write --plugin {here}/my_gan.py"),
        ("my-gan", "there is no such file; write --plugin {here}/my_gan.py"),
        ("my-gan.py", "there is no such file; write --plugin {here}/my_gan.py"),
        ("package.my_net", "there is no such file; write --plugin {here}/package/my_net.py"),
        ("numpy", "there is no such file; name a Python file; what is installed needs no --plugin"),
        ("wgan", "there is no such file; name a Python file; what is installed needs no --plugin"),
        ("photos.zip/x.py", "there is no such file; name a Python file"),
        (".", "not a file but a folder: name one of its files (my_gan.py), or install it with pip"),
        ("package", "not a file but a folder: name one of its files (my_net.py), or install it with pip"),
        ("photos", "not a file but a folder: name a Python file, or install it with pip"),
        ("photos.zip", "not a Python file; its name must end in .py"),
        ("notes.txt", "not a Python file; its name must end in .py"),
    ],
)
def test_what_is_no_file_of_a_plugin_is_told_what_would_be(here, given, hint):
    (here / "my_gan.py").touch()
    (here / "package").mkdir()
    for name in ("__init__", "my_net"):
        (here / "package" / f"{name}.py").touch()
    with pytest.raises(UserError) as raised:
        require_plugin(here / given)
    assert hint.format(here=here) in str(raised.value)
    require_plugin(here / "my_gan.py")
