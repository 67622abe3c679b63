//! OTLP/gRPC (<https://opentelemetry.io/docs/specs/otlp/#otlpgrpc>).

use std::{error::Error, time::Duration};

use bytes::{Buf, BufMut, Bytes};
use http::{HeaderMap, uri::PathAndQuery};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use tonic::{
    Code, Extensions, Request, Status,
    client::Grpc,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

use super::{Accepted, Blame, Failure, TransportError, USER_AGENT, tls, with_causes};
use crate::{
    config::Signal,
    export::config::{Compression, OtlpConfig},
};

pub(crate) struct Client {
    channel: Channel,
    path: PathAndQuery,
    headers: HeaderMap,
    compression: Option<CompressionEncoding>,
    timeout: Duration,
}

impl Client {
    pub(super) fn new(signal: Signal, config: &OtlpConfig) -> Result<Self, TransportError> {
        let endpoint = Endpoint::from(config.endpoint.uri().clone())
            .user_agent(USER_AGENT)
            .unwrap_or_else(|_| Endpoint::from(config.endpoint.uri().clone()))
            // A peer that vanished without a word is noticed, and connected to anew.
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(config.timeout);
        let path = match signal {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        };
        Ok(Self {
            channel: endpoint.connect_with_connector_lazy(tls::connector(config)?),
            path: PathAndQuery::from_static(path),
            headers: config.headers.iter().cloned().collect(),
            compression: match config.compression {
                Compression::None => None,
                Compression::Gzip => Some(CompressionEncoding::Gzip),
                Compression::Zstd => Some(CompressionEncoding::Zstd),
            },
            timeout: config.timeout,
        })
    }

    pub(super) async fn send(&self, message: Bytes) -> Result<Accepted, Failure> {
        let mut request =
            Request::from_parts(MetadataMap::from_headers(self.headers.clone()), Extensions::default(), message);
        request.set_timeout(self.timeout);
        let mut client = Grpc::new(self.channel.clone());
        if let Some(encoding) = self.compression {
            // Servers of grpc-go, such as the collector, answer in the encoding that they are asked in, whatever is accepted.
            client = client.send_compressed(encoding).accept_compressed(encoding);
        }
        let call = async {
            client.ready().await.map_err(|error| Failure::retry(with_causes(&error)))?;
            client.unary(request, self.path.clone(), ExportCodec).await.map_err(|status| failure(&status))
        };
        match tokio::time::timeout(self.timeout, call).await {
            Ok(response) => response.map(|response| accepted(response.into_inner())),
            Err(_) => Err(Failure::timed_out(self.timeout)),
        }
    }
}

fn accepted(response: ExportTraceServiceResponse) -> Accepted {
    response.partial_success.map_or_else(Accepted::default, |partial| Accepted {
        rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
        message: partial.error_message,
    })
}

/// Which statuses may be retried: the table of the OTLP specification. A status that was made on this side (the
/// connection broke) has a source, and may be retried too.
fn failure(status: &Status) -> Failure {
    let retry_info = status.get_details_retry_info();
    let after = retry_info.as_ref().and_then(|info| info.retry_delay);
    let text = match status.source() {
        Some(cause) => with_causes(cause),
        None => format!("{:?}: {}", status.code(), status.message()),
    };
    let blame = match status.code() {
        Code::Unavailable => Some(Blame::Receiver),
        // That it can recover is what the information says by being there, with a time or without.
        Code::ResourceExhausted if retry_info.is_some() => Some(Blame::Receiver),
        Code::Cancelled | Code::DeadlineExceeded => Some(Blame::Unknown),
        _ if status.source().is_some() => Some(Blame::Receiver),
        Code::Aborted | Code::OutOfRange | Code::DataLoss => Some(Blame::Request),
        _ => None,
    };
    match blame {
        Some(blame) => Failure::Retry { after, blame, error: text },
        None => Failure::permanent(text),
    }
}

/// Sends bytes that are encoded already. The responses of both signals have the same form on the wire.
struct ExportCodec;

impl Codec for ExportCodec {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for ExportCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.len());
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for ExportCodec {
    type Item = ExportTraceServiceResponse;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        // The receiver said OK; an answer that cannot be read does not change that.
        let answer = buffer.copy_to_bytes(buffer.remaining());
        Ok(Some(ExportTraceServiceResponse::decode(answer).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn statuses_are_retried_as_the_specification_says() {
        let retried: Vec<i32> = (1..=16)
            .filter(|code| matches!(failure(&Status::new(Code::from_i32(*code), "x")), Failure::Retry { .. }))
            .collect();
        // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS
        assert_eq!(retried, [1, 4, 10, 11, 14, 15]);
    }

    #[test]
    fn an_exhausted_receiver_is_retried_only_if_it_says_when() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1500)));
        let status = Status::with_error_details(Code::ResourceExhausted, "slow down", details);
        let Failure::Retry { after, .. } = failure(&status) else { panic!("not retried") };
        assert_eq!(after, Some(Duration::from_millis(1500)));
        let details = ErrorDetails::with_retry_info(None);
        let status = Status::with_error_details(Code::ResourceExhausted, "slow down", details);
        assert!(
            matches!(failure(&status), Failure::Retry { after: None, .. }),
            "it can recover, and does not say when"
        );
    }
}
