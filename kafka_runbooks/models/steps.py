"""The steps that runbooks are made of, as plans, status and results name them."""

from enum import StrEnum


class StepName(StrEnum):
    """Each step has one name, whichever runbook takes it."""

    CLEAR_LEFTOVERS = "clear leftovers of earlier runs"
    PLAN = "plan"
    APPROVAL = "approval"

    CORDON = "cordon the nodes"
    FENCE = "fence the broker"
    TAKE_LEASES = "take throttle leases"
    CONFIRM_GONE = "confirm that the node is gone"
    CHOOSE_NODE = "choose a node"
    RELEASE_VOLUME = "release the volume"
    DELETE_POD = "delete the pod"
    WAIT_FOR_POD = "wait for the pod"
    CATCH_UP = "follow the catch-up"
    FOLLOW_RECOVERY = "follow the recovery"

    CORDON_LOG_DIRECTORIES = "cordon log directories"
    REASSIGN = "reassign partitions"
    ROLL_BACK = "roll back"
    LEAVE_QUORUM = "leave the metadata quorum"
    JOIN_QUORUM = "join the metadata quorum"
    REMOVE_PODS = "remove pods"
    UNREGISTER = "unregister brokers"

    CREATE_TOPICS = "create topics"
    ADD_PARTITIONS = "add partitions"
    DELETE_TOPICS = "delete topics"
    SET_TOPIC_CONFIGS = "set topics' configurations"

    APPLY_CONFIGS = "apply configurations"
    CHOOSE_ROUND = "choose the next round"
    RESTART = "restart the round"
    FOLLOW_RESTART = "follow the restart"
    MEASURE_CANARY = "measure the canary before"
    WATCH_CANARY = "compare the canary with its peers"
    READ_FEATURES = "read the features"
    FINALISE = "finalise features"

    AWAIT_MANIFESTS = "wait for the manifests"
    GIVE_BACK = "give control back to a broker"
    FOLLOW_LEG = "follow the migration"
    FINISH_MIGRATION = "follow the end of the migration"

    CHOOSE_CHANGE = "choose the next change"
    WRITE_FILES = "write the Secrets"
    FOLLOW_FILES = "follow the files"
    PROVE_FILES = "prove by handshakes"
    TAKE_BACK = "take the change back"
    FIND_CLIENTS = "find clients with old certificates"
    FORGET_FILES = "forget former files"

    CHOOSE_NODES = "choose the next nodes"
    EMPTY = "empty the nodes"
    HOLD = "the nodes are yours"
    UNCORDON = "uncordon the nodes"

    ELECT = "elect preferred leaders"
    RELEASE = "remove throttles and cordons"
    PROVE = "prove the exit contract"
