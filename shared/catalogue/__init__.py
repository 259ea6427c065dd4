"""What is known of models: limits, abilities, prices; and what a call cost."""

from shared.catalogue.bill import Basis, Bill, bill_of
from shared.catalogue.catalogue import Catalogue
from shared.catalogue.facts import ModelFacts

__all__ = ["Basis", "Bill", "Catalogue", "ModelFacts", "bill_of"]
