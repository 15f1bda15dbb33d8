"""JSON schemas of Kafka protocol messages that kafka-python 3.0 lacks, as in Kafka's own `common/message` resources."""
