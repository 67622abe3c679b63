//! Services of AWS, and what speaks as they do: which operation of which service, by `X-Amz-Target` (JSON) or by `Action` (forms).
//! Queues and topics are told as such, DynamoDB as a database.

use compact_str::CompactString;

use super::{
    call, failure, form, is_post, is_word, json,
    marks::{Kind, Marks},
    name,
};
use crate::model::{
    exchange::{Db, Http, Messaging, MessagingStep, Operation, Rpc},
    trace_context::TraceParent,
};

/// Services whose name is another than what they are signed for.
const SERVICES: &[(&str, &str)] = &[
    ("cloudformation", "CloudFormation"),
    ("cognito-idp", "Cognito Identity Provider"),
    ("dynamodb", "DynamoDB"),
    ("ec2", "EC2"),
    ("ecr", "ECR"),
    ("ecs", "ECS"),
    ("elasticloadbalancing", "Elastic Load Balancing v2"),
    ("events", "EventBridge"),
    ("firehose", "Firehose"),
    ("glue", "Glue"),
    ("iam", "IAM"),
    ("kinesis", "Kinesis"),
    ("kms", "KMS"),
    ("logs", "CloudWatch Logs"),
    ("monitoring", "CloudWatch"),
    ("rds", "RDS"),
    ("secretsmanager", "Secrets Manager"),
    ("sns", "SNS"),
    ("sqs", "SQS"),
    ("ssm", "SSM"),
    ("states", "SFN"),
    ("sts", "STS"),
];

/// Services by the word before the operation's in `X-Amz-Target`, where it is not what they are called.
const TARGETS: &[(&str, &str)] = &[
    ("AmazonSQS", "SQS"),
    ("AmazonSSM", "SSM"),
    ("AWSEvents", "EventBridge"),
    ("AWSStepFunctions", "SFN"),
    ("Logs", "CloudWatch Logs"),
    ("TrentService", "KMS"),
    ("secretsmanager", "Secrets Manager"),
];

/// An operation of a service.
pub(super) struct Found {
    service: CompactString,
    operation: CompactString,
}

/// What is asked of which service, if that is certain.
pub(super) fn read(http: &Http, marks: &Marks) -> Option<Found> {
    if !is_post(http) {
        return None;
    }
    let signed = || {
        let service = marks.service.as_deref()?;
        let known = SERVICES.iter().find(|(signed, _)| *signed == service);
        Some(CompactString::new(known.map_or(service, |(_, name)| name)))
    };
    if let Some(target) = marks.target.as_deref() {
        let (api, operation) = target.rsplit_once('.')?;
        let is_certain = marks.service.is_some() || marks.kind == Kind::AmzJson;
        if !is_certain || !is_word(operation.as_bytes()) {
            return None;
        }
        // `DynamoDB_20120810`, `AmazonEC2ContainerServiceV20141113`.
        let api = api.trim_end_matches(|digit: char| digit.is_ascii_digit());
        let api = api.strip_suffix('_').or_else(|| api.strip_suffix('V')).unwrap_or(api);
        let known = TARGETS.iter().find(|(target, _)| *target == api);
        let service = signed().unwrap_or_else(|| known.map_or(api, |(_, name)| name).into());
        return Some(Found { service, operation: operation.into() });
    }
    let (body, is_cut) = (marks.body.bytes(), marks.body.is_cut());
    if marks.kind != Kind::Form {
        return None;
    }
    let action = form::value(body, b"Action", is_cut).filter(|action| is_word(action))?;
    // A date follows, which may be behind what is kept of a message.
    let version = form::value(body, b"Version", is_cut);
    let is_dated = version.as_ref().map_or(is_cut, |version| version.len() == 10 && version.get(4) == Some(&b'-'));
    is_dated.then_some(())?;
    Some(Found { service: signed()?, operation: name(&action)? })
}

impl Found {
    /// What the exchange is.
    pub(super) fn tell(self, http: Box<Http>, marks: &Marks) -> Operation {
        let step = self.step();
        match (&*self.service, step) {
            ("SQS" | "SNS", Some(step)) => Operation::Messaging(Box::new(self.messaging(step, http, marks))),
            ("DynamoDB", _) => {
                let table = |name: &[u8]| json::text_of(marks.body.bytes(), name);
                let table = table(b"TableName").and_then(|table| last(&table));
                let code = error(&http, marks);
                let (failed, operation) = (code.is_some(), Some(self.operation));
                let db = Db { operation, collection: table, failed, status: code, ..Db::default() };
                Operation::Db(Box::new(Db { system: "aws.dynamodb", http: Some(http), ..db }))
            }
            _ => {
                let method = compact_str::format_compact!("{}/{}", self.service, self.operation);
                let code = error(&http, marks);
                Operation::Rpc(Box::new(Rpc { code, ..call("aws-api", Some(method), *http) }))
            }
        }
    }

    fn step(&self) -> Option<MessagingStep> {
        Some(match (&*self.service, &*self.operation) {
            ("SQS", "SendMessage" | "SendMessageBatch") | ("SNS", "Publish" | "PublishBatch") => MessagingStep::Send,
            ("SQS", "ReceiveMessage") => MessagingStep::Receive,
            ("SQS", "DeleteMessage" | "DeleteMessageBatch") => MessagingStep::Settle,
            _ => return None,
        })
    }

    fn messaging(self, step: MessagingStep, http: Box<Http>, marks: &Marks) -> Messaging {
        let (body, is_cut) = (marks.body.bytes(), marks.body.is_cut());
        let is_batch = self.operation.ends_with("Batch");
        let parameter = |name: &[u8]| match marks.kind {
            Kind::Form => form::text(body, name, is_cut),
            _ => json::text_of(body, name),
        };
        let queue = parameter(b"QueueUrl").or_else(|| parameter(b"TopicArn")).and_then(|it| last(&it));
        // The older form of a queue's own address.
        let target = http.target.as_deref().unwrap_or_default();
        let queue = queue.or_else(|| last(target).filter(|_| marks.kind == Kind::Form && target.len() > 1));
        let context = parents(body).filter(|_| step == MessagingStep::Send && !is_batch);
        let error = error(&http, marks);
        let is_one = !is_batch && step == MessagingStep::Send;
        Messaging {
            system: if self.service == "SNS" { "aws.sns" } else { "aws_sqs" },
            operation: self.operation,
            step,
            destination: queue,
            messages: is_one.then_some(u64::from(error.is_none())),
            is_batch,
            carries_context: context.is_some(),
            links: context.into_iter().collect(),
            error,
            http: Some(http),
            ..Messaging::default()
        }
    }
}

/// The context that a message's attributes carry (JSON).
fn parents(body: &[u8]) -> Option<TraceParent> {
    let attributes = json::member(body, b"MessageAttributes")?;
    let value = json::text_of(json::member(attributes, b"traceparent")?, b"StringValue")?;
    TraceParent::parse(value.as_bytes())
}

/// The last part of an address, or of a name like `arn:aws:sns:eu-west-1:123:orders`.
fn last(text: &str) -> Option<CompactString> {
    let text = text.split('?').next()?;
    name(text.rsplit(['/', ':']).next()?.as_bytes())
}

/// The code of an error: as the service has it, where that was captured, else HTTP's.
fn error(http: &Http, marks: &Marks) -> Option<CompactString> {
    let status = failure(http)?;
    let kind = json::text_of(marks.answer.bytes(), b"__type");
    let own = kind.and_then(|kind| name(kind.rsplit('#').next()?.as_bytes()));
    Some(own.unwrap_or(status))
}
