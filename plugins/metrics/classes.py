"""Measures of samples that were asked for by class: whether they show it, and how far each class is from real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor

from ganbench import Metric, Scene, UserError, Value, frechet_distance, hookimpl

IMAGENET, INCEPTION = 1000, 1008
"""How many classes ImageNet has, and how many probabilities the Inception network of 2015 gives."""


@dataclass(frozen=True)
class Config:
    """Options.

    least: a class with fewer samples or fewer reference images than this is left out, and counted.
    each: give the value of each class too, by its number.
    """

    least: Annotated[int, Ge(2)] = 10
    each: bool = False


def _asked_for(name: str, scene: Scene) -> Tensor:
    if not scene.conditional or scene.fake.labels is None:
        raise UserError(f"{name} looks at samples by the class that was asked for: no class is asked for here")
    return scene.fake.labels.cpu()


def guesses(probs: Tensor, classes: int) -> tuple[Tensor, str]:
    """Return the most probable class of each sample, and how it was found, from probabilities `[N, outputs]`.

    Raises `UserError` where the outputs are not known to be these classes.
    """
    if probs.shape[1] == classes:
        return probs.argmax(1), "the most probable class"
    if (probs.shape[1], classes) == (INCEPTION, IMAGENET):
        outputs = torch.tensor(inception_outputs(), device=probs.device)
        rule = "the most probable of Inception's 1000 classes, without the bias of the last layer"
        return probs[:, outputs].argmax(1), rule
    raise UserError(f"class-accuracy: the extractor tells {probs.shape[1]} classes apart, but the data have {classes}")


def class_accuracy(scene: Scene) -> Mapping[str, Value]:
    """Return the share of samples that a classifier takes for the class asked for.

    `spread`: that of the mean over samples.
    """
    labels = _asked_for("class-accuracy", scene)
    if scene.fake.probs is None:
        raise UserError("class-accuracy: the extractor gives features alone, no probabilities of classes")
    found, rule = guesses(scene.fake.probs.cpu(), scene.data.classes)
    right = (found == labels).double()
    spread = float(right.std()) / len(right) ** 0.5 if len(right) > 1 else None
    return {"class-accuracy": Value(float(right.mean()), {"right": f"{rule} is the one asked for"}, spread=spread)}


def fid_class(scene: Scene) -> Mapping[str, Value]:
    """Return the mean over classes of the Fréchet distance within each, elsewhere called intra FID, and the largest.

    `-worst`: of the class that is farthest. `-left-out`: how many classes had too few samples, where there are any.
    """
    labels, truth = _asked_for("fid-class", scene), scene.real.labels
    assert scene.fake.embedding is not None and scene.real.embedding is not None and truth is not None
    fake, real, truth = scene.fake.embedding.cpu(), scene.real.embedding.cpu(), truth.cpu()
    options = scene.options or Config()
    distances = {}
    for number in range(scene.data.classes):
        own, theirs = fake[labels == number], real[truth == number]
        if min(len(own), len(theirs)) >= options.least:
            distances[number] = frechet_distance(own, theirs)
    if not distances:
        raise UserError(f"fid-class: no class has {options.least} samples and {options.least} reference images")
    protocol = {
        "classes": f"each with at least {options.least} samples and reference images",
        "statistics": "mean and covariance with 1/(n-1), float64",
    }
    values = {
        "fid-class": Value(sum(distances.values()) / len(distances), protocol),
        "fid-class-worst": Value(max(distances.values()), protocol, higher_is_better=False),
    }
    if left_out := scene.data.classes - len(distances):
        # A value, not part of the protocol: runs that differ in it must still be averaged.
        values["fid-class-left-out"] = Value(left_out, protocol, higher_is_better=False)
    if options.each:
        each = {f"fid-class-{number}": distance for number, distance in distances.items()}
        values |= {name: Value(distance, protocol, higher_is_better=False) for name, distance in each.items()}
    return values


def inception_outputs() -> list[int]:
    """Return which of Inception's 1008 outputs is each class of ImageNet, in the order of their WordNet identifiers."""
    outputs: list[int] = []
    for run in OUTPUTS.split():
        first, _, last = run.partition("-")
        outputs += range(int(first), int(last or first) + 1)
    return outputs


OUTPUTS = """
449-450 442-446 383-400 494-501 458-473 475-476 474 477-493 601-611 401-421 214-215 217 216 213 218 647-656 226
613-620 612 422-425 427 426 428-430 438 431-437 439-441 6 22 193 14 173 99 87 69 116 198 43 89 200 98 161 132 32 180
42 18 207 181 105 77 189 20 204 63 31 66 21 25 45 170 119 210 107 126 88 145 59 160 152 72 33 91 4 27 113 123 36 156
109 158 131 26 71 56 146 144 125 176 139 134 90 2 192 154 150 94 5 19 191 196 117 141 68 93 51 208 184 97 29 171 124
128 47 64 211 112 187 114 86 115 79 130 140 110 82 17 177 149 15 3 41 127 84 143 133 60 172 179 118 168 148 70 197 50
106 49 151 46 205 102 28 58 155 136 202 34 62 1 159 67 174 55 10 95 8 11 201 85 153 30 190 76 206 61 163 103 209 74 35
621-630 224 631-646 225 657-658 188 129 164 157 13 53 183 195 101 39 80 147 78 120 167 108 162 165 81 52 9 65 57 12
121 186 48 23 182 40 212 44 16 178 38 83 104 96 185 122 73 135 137-138 203 54 100 175 142 166 37 111 92 199 75 194 24
7 169 447 451 448 452-453 456-457 454-455 547 853 896 223 345 246 230 232 677 265 264 522 688 845 752 540 847 704 767
233 907 967 341 718 916 307 705 683 518 905 258 807 908 296 353 785 909 884 266 733 991 849 777 811 933 941 254 985
835 533 839 689 252 940 805 300 706 779 538 817 716 872 719 949 851 820 580 833 887 707 267 673 591 539 239 377 836
576 568 891 749 563 548 890 929 701 241 987 342 914 827 721 902 382 762 303 335 301 801 690 695 370 713 797 979 761
996 674 698 583 543 708 243 268 376 347 910 881 297 545 778 898 298 670 756 856 865 720 313 550 959 966 523 529 315
821 667 579 715 253 897 972 834 336 799 1000 662 512 346 262 316 879 660 808 796 305 235 279 919 995 356 309 784 261
712 934 299 256 348 671 757 280 971 567 955 275 792 276 236 337 911 227 684 725 703 517 581 895 249 375 840 505 551
750 573 350 344 554 369 787 696 730 562 802 924 293 525 980 659 592 748 269 961 963 294 560 770 773 582 918 892 814
228 374 988 371 687 238 546 270 244 867 973 894 508 536 697 532 818 917 782 977 763 338-339 781 984 598 922 946 302
717 509 661 866 875 920 880 271 251 871 829 290 272 764 686 869 277 824 854 691 852 260 255 728 511 599 284 588 585
595 755 915 552 699 354 351 520 513 333 870 937 295 506 921 826 564 584 504 759 685 352 877 942 994 306 527 257 679
843 732 842 850 883 783 789 575 926 722 281 596 931 901 888 841 565 245 983 372 693 964 731 381 378 857 923 285 855
314 788 838 566 373 769 556 702 542 534 572 846 939 862 976 273 860 571 863 537 927 286 570 965 668 578 694 219 541
310 663 997 876 519 760 753 586 952 751 938 355 809 521 962 221 729 510 587 379 589 559 800 709 832 950 259 380 868
747 590 776 943 549 726 557 507 288 278 960 222 986 577 925 822 858 515 234 676 237 600 775 274 593 804 263 680 340
530 998 724 528 516 514 287 957 311 692 247 794 526 574 535 810 681 828 837 945 569 561 531 304 250 978 675 786 944
970 989 903 758 555 308 780 664 710 312 594 700 282 711 289 283 766 825 291 242 597 678 882 349 765 727 544 220 292
334 666 874 990 969 558 790 682 343 936 665 524 928 317 231 906 669 958 819 795 772 502 899 912 904 935 831 503 672
951 815 723 248 240 714 553 930 791 932 861 774 803 754 813 844 771 793 974 968 873 768 975 993 885 734 736-744 735
745-746 318 229 319-326 816 999 953 864 806 948 830 900 798 947 859 823 361 992 359 365 368 366 363-364 367 360 362
954 848 982 330 357-358 331 327-328 332 886 913 956 893 878 812 981 329 889
"""
"""Outputs by class, runs of them joined: imagenet_2012_challenge_label_map_proto.pbtxt, which comes with the graph."""


@hookimpl
def ganbench_metrics() -> list[Metric]:
    common = partial(Metric, any_extractor=True, needs=frozenset({"images", "labels"}))
    return [
        common(
            name="class-accuracy",
            compute=class_accuracy,
            summary="share of samples that a classifier takes for the class asked for",
            extractor="classifier",
            higher_is_better=True,
            worst=0.0,
        ),
        common(
            name="fid-class",
            compute=fid_class,
            summary="mean over classes of FID within the class; biased where a class has few samples",
            extractor="inception",
            higher_is_better=False,
            last_mark_only=True,
            config=Config(),
            covariance=True,
        ),
    ]
