"""The bus: endpoints, topics, frames and sockets. No other package knows ZeroMQ or msgpack."""
