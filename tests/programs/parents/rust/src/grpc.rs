//! gRPC on tonic: the method `r17` of the service `parents.Bed` stands for the path `/r17`.

use std::{
    collections::HashMap,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{body::Body, extract::State};
use bytes::{Buf, BufMut};
use tonic::{
    Request, Response, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};

use crate::{Service, setting};

/// What methods belong to.
const SERVICE: &str = "/parents.Bed";

/// Messages that are bytes already.
#[derive(Clone, Copy)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

/// A method, as the service that tonic takes it for.
struct Method<F>(F);

impl<F, Fut> tower_service::Service<Request<Vec<u8>>> for Method<F>
where
    F: FnMut(Request<Vec<u8>>) -> Fut,
    Fut: Future<Output = Result<Response<Vec<u8>>, Status>>,
{
    type Response = Response<Vec<u8>>;
    type Error = Status;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Vec<u8>>) -> Fut {
        (self.0)(request)
    }
}

pub(crate) async fn answer(
    State(service): State<Arc<Service>>,
    request: axum::extract::Request,
) -> axum::response::Response {
    let path = request.uri().path().strip_prefix(SERVICE).unwrap().to_owned();
    let method = |request: Request<Vec<u8>>| {
        let (service, path) = (Arc::clone(&service), path.clone());
        async move {
            let metadata = |name: &str| Some(request.metadata().get(name)?.to_str().unwrap().to_owned());
            let pattern = metadata("pattern").unwrap_or_else(|| setting("PATTERN", "sequential"));
            let count = metadata("calls").unwrap_or_else(|| setting("CALLS", "0")).parse().unwrap();
            service.make_calls(&path, &pattern, count, metadata("traceparent")).await;
            Ok(Response::new(b"ok".to_vec()))
        }
    };
    tonic::server::Grpc::new(Plain).unary(Method(method), request).await.map(Body::new)
}

/// A connection to each back end.
pub(crate) struct Client(HashMap<String, Channel>);

impl Client {
    pub(crate) fn to(ports: &[String]) -> Self {
        let channel = |port: &String| Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect_lazy();
        Self(ports.iter().map(|port| (port.clone(), channel(port))).collect())
    }

    pub(crate) async fn call(&self, port: &str, path: &str, context: Option<&str>) {
        let mut grpc = tonic::client::Grpc::new(self.0[port].clone());
        grpc.ready().await.unwrap();
        let mut request = Request::new(b"hello".to_vec());
        if let Some(context) = context {
            request.metadata_mut().insert("traceparent", context.parse().unwrap());
        }
        let path = format!("{SERVICE}{path}").parse().unwrap();
        grpc.unary::<Vec<u8>, Vec<u8>, _>(request, path, Plain).await.unwrap();
    }
}
