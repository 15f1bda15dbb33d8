from kafka_runbooks.placement.planners.verbs import *
from kafka_runbooks.placement.planners.verbs import __all__ as __all__
