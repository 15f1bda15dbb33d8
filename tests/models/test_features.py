"""What may be finalised, from what brokers say."""

from hypothesis import given
from hypothesis import strategies as st

from kafka_runbooks.models.features import BrokerFeatures, FeatureChange, finalised, releases, to_finalise

NAMES = ("group.version", "kraft.version", "metadata.version", "share.version")


def broker(finalised: dict[str, int] | None = None, **highest: int) -> BrokerFeatures:
    levels = {"metadata": 27, **highest}
    supported = {f"{name}.version": (0, level) for name, level in levels.items()}
    return BrokerFeatures(supported=supported, finalised={"metadata.version": 25} if finalised is None else finalised)


def test_only_what_all_support_is_finalised() -> None:
    found = {1: broker(metadata=29, share=1), 2: broker(metadata=27)}
    assert to_finalise(found) == (FeatureChange("metadata.version", 25, 27),)
    assert str(to_finalise(found)[0]) == "metadata.version 25 -> 27"


def test_a_feature_that_is_off_is_behind_and_the_kind_of_quorum_is_nobodys_business() -> None:
    one = broker({"metadata.version": 27}, share=1, kraft=1)
    assert to_finalise({1: one, 2: one}) == (FeatureChange("share.version", 0, 1),)


def test_what_not_every_broker_knows_yet_is_not_finalised_yet() -> None:
    found = {1: broker({"metadata.version": 27}), 2: broker({"metadata.version": 25})}
    assert finalised(found.values()) == {"metadata.version": 25}
    assert to_finalise(found) == (FeatureChange("metadata.version", 25, 27),)


def test_releases_are_told_apart_by_what_they_support() -> None:
    assert releases({2: broker(), 1: broker()}) == {"metadata.version up to 27": (1, 2)}
    assert releases({1: broker(), 2: broker(metadata=29, share=1), 3: broker(group=1)}) == {
        "metadata.version up to 27": (1,),
        "metadata.version up to 29, share.version up to 1": (2,),
        "group.version up to 1, metadata.version up to 27": (3,),
    }
    assert releases({}) == {}


levels = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 5))
brokers = st.dictionaries(
    st.integers(1, 5),
    st.builds(
        BrokerFeatures, supported=levels.map(lambda found: {name: (0, level) for name, level in found.items()}), finalised=levels
    ),
)


@given(brokers)
def test_nothing_is_lowered_and_nothing_that_one_lacks_is_finalised(found: dict[int, BrokerFeatures]) -> None:
    for name, before, after in to_finalise(found):
        assert before < after and name != "kraft.version"
        assert all(after <= one.supported[name][1] for one in found.values())
        assert before == min(one.finalised.get(name, 0) for one in found.values())
    assert sorted(one for ids in releases(found).values() for one in ids) == sorted(found)
