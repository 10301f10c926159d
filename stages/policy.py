"""What a round of the ledger may do, from the settings that its entry keeps."""

from dataclasses import fields

from diva.curation.additions import RoundSettings
from diva.curation.round import Policy
from diva.curation.suspicion import CleanUp
from diva.store import ledger, paths
from stages.params.curate import Curate
from stages.params.extend import Extend
from stages.params.section import validate


def policy(entry: ledger.Round) -> Policy:
    """ValueError where a setting is none."""
    where = f"{paths.LEDGER}: settings of the round after {entry.previous}"
    extend = validate(entry.settings.get("extend"), Extend, f"{where}, extend")
    curate = validate(entry.settings.get("curate"), Curate, f"{where}, curate")
    chosen = extend.model_dump()
    addition = RoundSettings(**{field.name: chosen.pop(field.name) for field in fields(RoundSettings)})
    return Policy(**chosen, addition=addition, clean_up=CleanUp(**curate.model_dump()))
