//! Every name that leaves the agent on a span or a RED metric: those of the semantic conventions 1.45 (from their crate,
//! which is at 1.42, where they are the same), and ours, which begin with `beyla.`.

pub(crate) use opentelemetry_semantic_conventions::{
    attribute::{
        CLIENT_ADDRESS, CLIENT_PORT, CPU_MODE, DB_COLLECTION_NAME, DB_NAMESPACE, DB_OPERATION_BATCH_SIZE,
        DB_OPERATION_NAME, DB_QUERY_SUMMARY, DB_QUERY_TEXT, DB_RESPONSE_RETURNED_ROWS, DB_RESPONSE_STATUS_CODE,
        DB_STORED_PROCEDURE_NAME, DB_SYSTEM_NAME, DISK_IO_DIRECTION, DNS_ANSWERS, DNS_QUESTION_NAME, ERROR_TYPE,
        GO_MEMORY_TYPE, GRAPHQL_OPERATION_NAME, GRAPHQL_OPERATION_TYPE, HTTP_REQUEST_BODY_SIZE, HTTP_REQUEST_METHOD,
        HTTP_REQUEST_METHOD_ORIGINAL, HTTP_RESPONSE_BODY_SIZE, HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE,
        MESSAGING_BATCH_MESSAGE_COUNT, MESSAGING_CLIENT_ID, MESSAGING_CONSUMER_GROUP_NAME, MESSAGING_DESTINATION_NAME,
        MESSAGING_DESTINATION_PARTITION_ID, MESSAGING_DESTINATION_TEMPLATE, MESSAGING_DESTINATION_TEMPORARY,
        MESSAGING_KAFKA_OFFSET, MESSAGING_MESSAGE_BODY_SIZE, MESSAGING_MESSAGE_ID, MESSAGING_OPERATION_NAME,
        MESSAGING_OPERATION_TYPE, MESSAGING_RABBITMQ_DESTINATION_ROUTING_KEY, MESSAGING_RABBITMQ_MESSAGE_DELIVERY_TAG,
        MESSAGING_SYSTEM, NETWORK_IO_DIRECTION, NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT, NETWORK_PROTOCOL_VERSION,
        NETWORK_TRANSPORT, RPC_METHOD, RPC_SYSTEM_NAME, SERVER_ADDRESS, SERVER_PORT, SERVICE_NAMESPACE,
        SERVICE_PEER_NAME, SERVICE_PEER_NAMESPACE, URL_FULL, URL_PATH, URL_QUERY, URL_SCHEME, URL_TEMPLATE,
        USER_AGENT_ORIGINAL,
    },
    metric::{
        DB_CLIENT_OPERATION_DURATION, DNS_LOOKUP_DURATION, GO_CONFIG_GOGC, GO_GOROUTINE_COUNT, GO_MEMORY_ALLOCATED,
        GO_MEMORY_ALLOCATIONS, GO_MEMORY_GC_CYCLES, GO_MEMORY_GC_GOAL, GO_MEMORY_GC_PAUSE_DURATION, GO_MEMORY_LIMIT,
        GO_MEMORY_USED, GO_PROCESSOR_LIMIT, HTTP_CLIENT_REQUEST_BODY_SIZE, HTTP_CLIENT_REQUEST_DURATION,
        HTTP_CLIENT_RESPONSE_BODY_SIZE, HTTP_SERVER_ACTIVE_REQUESTS, HTTP_SERVER_REQUEST_BODY_SIZE,
        HTTP_SERVER_REQUEST_DURATION, HTTP_SERVER_RESPONSE_BODY_SIZE, MESSAGING_CLIENT_CONSUMED_MESSAGES,
        MESSAGING_CLIENT_OPERATION_DURATION, MESSAGING_CLIENT_SENT_MESSAGES, MESSAGING_PROCESS_DURATION,
        PROCESS_CPU_TIME, PROCESS_CPU_UTILIZATION, PROCESS_DISK_IO, PROCESS_MEMORY_USAGE, PROCESS_MEMORY_VIRTUAL,
        PROCESS_NETWORK_IO, PROCESS_THREAD_COUNT, PROCESS_UNIX_FILE_DESCRIPTOR_COUNT, PROCESS_UPTIME,
        RPC_CLIENT_CALL_DURATION, RPC_SERVER_CALL_DURATION,
    },
};

/// The conventions that all of this follows.
pub(crate) const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.45.0";

/// A call's status: its name, as `NOT_FOUND` (1.45).
pub(crate) const RPC_STATUS_CODE: &str = "rpc.status_code";

/// As OBI has it: the conventions have no metric of a database itself.
pub(crate) const DB_SERVER_OPERATION_DURATION: &str = "db.server.operation.duration";

/// True on the one series that stands for all beyond the limit (OpenTelemetry's metrics SDK specification).
pub(crate) const OTEL_METRIC_OVERFLOW: &str = "otel.metric.overflow";

/// Version of TLS, where what carries the request was seen from its beginning.
pub(crate) const TLS_PROTOCOL_VERSION: &str = "tls.protocol.version";

/// How an exchange ended that was not seen whole: `no_response`, `cut`, `cancelled`, `reset`, `unseen`.
pub(crate) const BEYLA_OUTCOME: &str = "beyla.outcome";
/// What says that the parent is the parent: `header`. Absent on a root.
pub(crate) const BEYLA_PARENT_EVIDENCE: &str = "beyla.parent.evidence";
/// Seconds from the request's first byte to the response's first, where that is not the end.
pub(crate) const BEYLA_TIME_TO_FIRST_BYTE: &str = "beyla.time_to_first_byte";
/// Seconds for which a request's first bytes had waited in the socket when its server read them.
pub(crate) const BEYLA_QUEUE_DURATION: &str = "beyla.queue.duration";
/// Seconds that it took to connect, on the first request of a connection.
pub(crate) const BEYLA_CONNECT_DURATION: &str = "beyla.connect.duration";
/// Seconds from a client's first byte of a TLS handshake to the first that it wrote in the clear, on the first request of a connection.
pub(crate) const BEYLA_TLS_HANDSHAKE_DURATION: &str = "beyla.tls.handshake.duration";
/// Segments that this end of the connection retransmitted during the exchange, where there were any.
pub(crate) const BEYLA_TCP_RETRANSMITS: &str = "beyla.tcp.retransmits";
/// The connection's smoothed round trip time in seconds when the exchange was over.
pub(crate) const BEYLA_TCP_RTT: &str = "beyla.tcp.rtt";
/// True where the method or the target cannot be known (HTTP/2 met in mid-life), or the statement (prepared before anything was seen).
pub(crate) const BEYLA_NAME_UNKNOWN: &str = "beyla.name.unknown";
/// A number for the unknown name: within a connection the same for the same name.
pub(crate) const BEYLA_NAME_UNKNOWN_ENTRY: &str = "beyla.name.unknown_entry";
/// How many calls or operations one request has, where it has several.
pub(crate) const BEYLA_BATCH_SIZE: &str = "beyla.batch.size";
/// True where the header block was longer than what was captured.
pub(crate) const BEYLA_HEADERS_TRUNCATED: &str = "beyla.headers.truncated";
/// True where the request target was longer than what was captured.
pub(crate) const BEYLA_TARGET_TRUNCATED: &str = "beyla.target.truncated";
/// The process; of a resource, and other for each process where several are one service instance.
pub(crate) const PROCESS_PID: &str = "process.pid";
/// True where the plaintext of TLS could not be bound to a connection: there is no peer address.
pub(crate) const BEYLA_CONNECTION_UNBOUND: &str = "beyla.connection.unbound";

#[cfg(test)]
mod tests {
    /// With another version of the crate, what it still lacks of [`SCHEMA_URL`](super::SCHEMA_URL)'s may be in it.
    #[test]
    fn the_crate_is_at_1_42() {
        assert_eq!(opentelemetry_semantic_conventions::SCHEMA_URL, "https://opentelemetry.io/schemas/1.42.0");
    }
}
