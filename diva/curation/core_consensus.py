"""The core's labels where several annotators gave them: by their votes and the model, before the problem is posed.

What stands in the core's index from then on is the consensus (`diva.curation.annotators`): detect, Reweight and Extend
take it as given, because soft labels brought the head no less error. They lie beside it for learners that take them,
and so do the qualities of the annotators, and which samples are worth another vote first. Deliveries to the pool enter
by what most annotators say; rounds judge them as any other label.
"""

from dataclasses import dataclass
from typing import Any

import polars as pl
import torch

from diva.curation import rows
from diva.curation.annotators import Consensus, consensus
from diva.numerics import device as devices
from diva.numerics.normalize import Prepared
from diva.numerics.normalize import scaling as scaling_of
from diva.store import index
from diva.text.choices import Normalization
from diva.text.targets import delivered
from diva.text.votes import PREFIX, plurality, votes_in

CHUNK = 8192


@dataclass(frozen=True)
class Agreement:
    """The core under its consensus; annotators with votes, quality and its interval; samples with soft labels.

    ``samples`` come in the order in which another vote of them is worth most.
    """

    core: pl.DataFrame
    annotators: pl.DataFrame
    samples: pl.DataFrame

    @property
    def figures(self) -> dict[str, Any]:
        """For the metrics."""
        changed = int((self.samples["label"] != self.samples["plurality"]).sum())
        return {"annotators": self.annotators.fill_nan(None).to_dicts(), "changed_by_model": changed}


def agree(core: pl.DataFrame, normalize: Normalization, device: str) -> Agreement | None:
    """The consensus on the rows of an index with columns of annotators; None where labels are not what most say."""
    names = votes_in(core.columns)
    if not names or core["label"].to_list() != [plurality(row) for row in core.select(names).iter_rows()]:
        return None
    given = core.select(pl.col(names).map_elements(delivered, pl.String))
    classes = sorted({label for name in names for label in given[name].drop_nulls()})
    code = {label: number for number, label in enumerate(classes)} | {None: -1}
    votes = torch.tensor([[code[label] for label in row] for row in given.iter_rows()])
    where = devices.resolve(device)
    raw = rows.stored(core.with_columns(label=pl.lit(classes[0])), classes, CHUNK, where=where)
    scaling = scaling_of(raw) if normalize == "standardize" else None
    chunks = Prepared(raw, normalize, scaling=scaling, device=where, dtype=torch.float64)
    numbers = rows.group_numbers(core, index.groups(core.select(list(index.SCHEMA)), stored=False))
    agreed = consensus(chunks, votes, len(classes), groups=numbers)
    labels = pl.Series([classes[number] for number in agreed.label.tolist()])
    return Agreement(core.with_columns(label=labels), _annotators(names, agreed), _samples(core, agreed, classes))


def _annotators(names: list[str], agreed: Consensus) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "annotator": [name.removeprefix(PREFIX) for name in names],
            "votes": agreed.votes.numpy(),
            "quality": agreed.quality.numpy(),
            "low": agreed.interval[:, 0].numpy(),
            "high": agreed.interval[:, 1].numpy(),
        }
    )


def _samples(core: pl.DataFrame, agreed: Consensus, classes: list[str]) -> pl.DataFrame:
    soft = {f"p_{label}": agreed.probability[:, number].numpy() for number, label in enumerate(classes)}
    texts = {
        name: pl.Series([classes[number] for number in codes.tolist()])
        for name, codes in (("label", agreed.label), ("plurality", agreed.plurality))
    }
    frame = core.select("sample_id", "path").with_columns(
        **texts, wrong=pl.Series(agreed.wrong.numpy()), vote_value=pl.Series(agreed.value.numpy()), **soft
    )
    return frame[agreed.next_vote.tolist()]
