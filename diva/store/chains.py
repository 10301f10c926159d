"""The ledger's entries, frozen and checked, and the three chains that they form."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

ORIGIN = {"pool": "b000", "rounds": "r000"}
REVIEW_ORIGIN = "v000"

BatchName = Annotated[str, StringConstraints(pattern=r"^(core|test|b\d{3,})$")]
PoolName = Annotated[str, StringConstraints(pattern=r"^b\d{3,}$")]
RoundName = Annotated[str, StringConstraints(pattern=r"^r\d{3,}$")]
ReviewName = Annotated[str, StringConstraints(pattern=r"^v\d{3,}$")]
Checksum = Annotated[str, StringConstraints(pattern=r"^(sha256:[0-9a-f]{64}|none)$")]


class Entry(BaseModel):
    """An entry: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Batch(Entry):
    """A delivery: where it came from, its checksum when it was accepted, the options of its source."""

    source: Annotated[str, StringConstraints(min_length=1)]
    checksum: Checksum
    options: dict[str, Any]
    additions: list["Batch"] = []  # later deliveries to the core or the test set; a pool has a batch for each

    @property
    def deliveries(self) -> "list[Batch]":
        """The delivery itself, then later ones to the same set."""
        return [self, *self.additions]

    @model_serializer(mode="wrap")
    def _without_empty_additions(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """An entry without additions reads as it did before there were any."""
        return {key: value for key, value in dump(self).items() if key != "additions" or value}


class Link(Entry):
    """A link of the pool's chain: the index it continues."""

    previous: PoolName


class Round(Entry):
    """A round: predecessor, pool index, review version, its own settings by stage, the code's commit."""

    previous: RoundName
    pool: PoolName
    review: ReviewName
    settings: dict[str, dict[str, Any]]
    commit: Annotated[str, StringConstraints(pattern=r"^(none|[0-9a-f]{7,64})$")]


class Review(Entry):
    """A version of people's decisions, which holds those of its predecessor too: what came with it, its checksum."""

    previous: ReviewName
    what: str
    checksum: Checksum


class Base(Entry):
    """What a compacted history starts from: pool index, review, the version that was compacted, batches it took in."""

    pool: PoolName
    review: ReviewName
    version: str
    batches: dict[PoolName, Batch]


class Ledger(Entry):
    """All batches and rounds; valid by construction."""

    batches: dict[BatchName, Batch] = Field(min_length=1)
    pool: dict[PoolName, Link]
    rounds: dict[RoundName, Round]
    latest: RoundName
    reviews: dict[ReviewName, Review] = {}
    base: dict[RoundName, Base] = Field({}, max_length=1)

    @model_validator(mode="after")
    def _chains(self) -> "Ledger":
        if "core" not in self.batches:
            raise ValueError(f"batches must have 'core', got {', '.join(self.batches)}.")
        self._same_batches()
        links = chain(self.pool, "pool", origin(self, "pool"))
        rounds = chain(self.rounds, "rounds", origin(self, "rounds"))
        chain(self.reviews, "reviews", REVIEW_ORIGIN)
        newest = rounds[-1] if rounds else origin(self, "rounds")
        if self.latest != newest:
            raise ValueError(f"latest must be the last round, {newest}, got {self.latest}.")
        self._forward("pool", [origin(self, "pool"), *links], rounds)
        self._forward("review", None, rounds)
        return self

    def _same_batches(self) -> None:
        delivered = {name for name in self.batches if name.startswith("b")}
        for name in sorted(delivered ^ set(self.pool), key=number):
            where, other = ("batches", "pool") if name in self.pool else ("pool", "batches")
            raise ValueError(
                f"{where} must have an entry {name}, as {other} has, got {', '.join(getattr(self, where)) or 'none'}."
            )
        if "b000" in delivered:
            raise ValueError("batches must start at b001 (b000 is the empty pool), got b000.")

    def _forward(self, key: str, names: list[str] | None, order: list[str]) -> None:
        """Rounds only ever move on: to a pool index or a review version at least as new as their predecessor's."""
        newest = origin(self, "pool" if key == "pool" else "review")
        for name in order:
            got = getattr(self.rounds[name], key)
            if names is not None and got not in names:
                raise ValueError(f"rounds.{name}.{key} must be one of {', '.join(names)}, got {got}.")
            if number(got) < number(newest):
                raise ValueError(f"rounds.{name}.{key} must be {newest} or newer, as its predecessor's is, got {got}.")
            newest = got


def number(name: str) -> int:
    """The number in a name: 7 for r007; core comes before all (-2), then test (-1)."""
    return {"core": -2, "test": -1}[name] if name in ("core", "test") else int(name[1:])


def origin(book: Ledger, key: str) -> str:
    """What the chain of ``pool``, ``rounds`` or ``review`` starts after: b000, r000, v000, or what the base holds."""
    for round_, base in book.base.items():
        return {"rounds": round_, "pool": base.pool, "review": base.review}[key]
    return {**ORIGIN, "review": REVIEW_ORIGIN}[key]


def chain(
    entries: Mapping[str, Link] | Mapping[str, Round] | Mapping[str, Review], key: str, after: str = ""
) -> list[str]:
    """Names in the order of the chain, which starts after ``after`` where that is given.

    Raises:
        ValueError: an entry whose predecessor does not exist, two with the same one, or names that do not count up.
    """
    names = sorted(entries, key=number)
    last = after or (entries[names[0]].previous if names else "")
    for name in names:
        previous = entries[name].previous
        if previous != last:
            raise ValueError(
                f"{key}.{name}.previous must be {last} (the chain is linear, its names count up), got {previous}."
            )
        last = name
    if names and after and number(names[0]) <= number(after):
        raise ValueError(f"{key} must start after {after}, got an entry {names[0]}.")
    return names
