//! A fake learning-rate service that remembers what is reported, and misbehaves on each stream as its script says.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures::{Stream, stream::unfold};
use lrs_proto::{
    Directive, GetLearningRateRequest, GetLearningRateResponse, GroupPlan, GroupRate, RatePlan, StartAttemptRequest,
    StartAttemptResponse, StreamTelemetryRequest, StreamTelemetryResponse,
    learning_rate_service_server::{LearningRateService, LearningRateServiceServer},
};
use tokio::{net::TcpListener, runtime::Runtime};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};

use crate::server::wait_for;

/// The rate of every step in the provisional plan; it differs from the final rates.
pub const PLANNED_RATE: f64 = 0.25;

/// The final rate of a step; it becomes final once all steps before it have been reported.
pub fn final_rate(step: u64) -> f64 {
    1.0 / (2.0 + f64::from(u32::try_from(step).unwrap()))
}

/// The behaviour of a stream. Each stream takes the next behaviour of the script; after the script all streams are
/// good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Keeps, acknowledges and answers.
    Good,
    /// Behaves well for this many messages, then breaks.
    BreakAfter(usize),
    /// Takes this many messages without keeping or acknowledging them, then breaks.
    Lose(usize),
    /// Keeps this many messages without acknowledging them, then breaks.
    KeepSilently(usize),
    /// Keeps nothing and never answers.
    Mute,
    /// Refuses for good instead of opening the stream.
    Refuse,
}

#[derive(Debug, Default)]
struct Memory {
    script: VecDeque<Behaviour>,
    streams: usize,
    /// The rate reported for each step.
    record: BTreeMap<u64, f64>,
    /// All steps below this one are closed.
    complete_end: u64,
}

/// A running fake on a run-time of its own. Ending that drops every connection, as the death of a process does.
pub struct FakeService {
    memory: Arc<Mutex<Memory>>,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl FakeService {
    /// Starts on a free port.
    pub async fn start(script: impl IntoIterator<Item = Behaviour>) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    /// Starts at an address, with an empty memory.
    pub async fn start_at(address: SocketAddr, script: impl IntoIterator<Item = Behaviour>) -> Self {
        let memory = Arc::new(Mutex::new(Memory { script: script.into_iter().collect(), ..Memory::default() }));
        let service = LearningRateServiceServer::new(Handler(Arc::clone(&memory)));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // While nobody listened there, the kernel may have given the port to somebody's outgoing connection.
        let listener = wait_for("the address to be free", async || std::net::TcpListener::bind(address).ok()).await;
        listener.set_nonblocking(true).unwrap();
        let listener = {
            let _on = runtime.enter();
            TcpListener::from_std(listener).unwrap()
        };
        let address = listener.local_addr().unwrap();
        // Without it, a small answer may wait 40 ms for the acknowledgement of the answer before.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        runtime
            .spawn(async move { Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap() });
        Self { memory, address, runtime: Some(runtime) }
    }

    /// Ends the service and all its connections, and returns its address.
    pub async fn stop(mut self) -> SocketAddr {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(10))).await.unwrap();
        self.address
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The rate reported for each step.
    pub fn record(&self) -> BTreeMap<u64, f64> {
        lock(&self.memory).record.clone()
    }

    /// How many streams were opened.
    pub fn streams(&self) -> usize {
        lock(&self.memory).streams
    }
}

impl Drop for FakeService {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap()
}

fn rates(learning_rate: f64) -> Vec<GroupRate> {
    vec![GroupRate { group: "default".to_owned(), learning_rate, momentum: None, weight_decay: None }]
}

struct Handler(Arc<Mutex<Memory>>);

#[tonic::async_trait]
impl LearningRateService for Handler {
    async fn start_attempt(
        &self,
        request: Request<StartAttemptRequest>,
    ) -> Result<Response<StartAttemptResponse>, Status> {
        if request.get_ref().job.ends_with("unknown") {
            return Err(Status::not_found("there is no such job"));
        }
        Ok(Response::new(StartAttemptResponse {
            attempt: 1,
            decision_lag: 1,
            needs_telemetry: true,
            ..Default::default()
        }))
    }

    async fn get_learning_rate(
        &self,
        request: Request<GetLearningRateRequest>,
    ) -> Result<Response<GetLearningRateResponse>, Status> {
        let request = request.into_inner();
        let step = u64::try_from(request.step).unwrap();
        let is_final = step <= lock(&self.0).complete_end;
        let rate = if is_final { final_rate(step) } else { PLANNED_RATE };
        let steps = usize::try_from(request.plan_steps).unwrap();
        let group = GroupPlan {
            group: "default".to_owned(),
            learning_rate: vec![PLANNED_RATE; steps],
            momentum: vec![],
            weight_decay: vec![],
        };
        Ok(Response::new(GetLearningRateResponse {
            attempt: 1,
            directive: Some(Directive { step: request.step, rates: rates(rate), is_final, ..Default::default() }),
            plan: Some(RatePlan { first_step: request.step + 1, final_steps: 0, groups: vec![group] }),
        }))
    }

    type StreamTelemetryStream = Pin<Box<dyn Stream<Item = Result<StreamTelemetryResponse, Status>> + Send>>;

    async fn stream_telemetry(
        &self,
        request: Request<Streaming<StreamTelemetryRequest>>,
    ) -> Result<Response<Self::StreamTelemetryStream>, Status> {
        let (behaviour, next_directive) = {
            let mut memory = lock(&self.0);
            memory.streams += 1;
            (memory.script.pop_front().unwrap_or(Behaviour::Good), memory.complete_end)
        };
        if behaviour == Behaviour::Refuse {
            return Err(Status::failed_precondition("the job has ended"));
        }
        let conversation = Conversation {
            memory: Arc::clone(&self.0),
            incoming: request.into_inner(),
            behaviour,
            telemetry_messages: 0,
            answer: StreamTelemetryResponse::default(),
            next_directive,
            over: false,
            ended: false,
        };
        Ok(Response::new(Box::pin(unfold(conversation, Conversation::next))))
    }
}

struct Conversation {
    memory: Arc<Mutex<Memory>>,
    incoming: Streaming<StreamTelemetryRequest>,
    behaviour: Behaviour,
    telemetry_messages: usize,
    answer: StreamTelemetryResponse,
    next_directive: u64,
    /// The script's break has been reached.
    over: bool,
    /// The stream has reported the break.
    ended: bool,
}

impl Conversation {
    async fn next(mut self) -> Option<(Result<StreamTelemetryResponse, Status>, Self)> {
        while !self.over {
            let message = self.incoming.message().await.ok()??;
            if message.step.is_empty() && matches!(self.behaviour, Behaviour::Lose(_) | Behaviour::KeepSilently(_)) {
                // The opening is answered before anything else.
                self.answer.durable_messages += 1;
                return Some((Ok(self.say()), self));
            }
            self.telemetry_messages += usize::from(!message.step.is_empty());
            let (keeps, answers, last) = match self.behaviour {
                Behaviour::Good | Behaviour::Refuse => (true, true, usize::MAX),
                Behaviour::BreakAfter(messages) => (true, true, messages),
                Behaviour::Lose(messages) => (false, false, messages),
                Behaviour::KeepSilently(messages) => (true, false, messages),
                Behaviour::Mute => (false, false, usize::MAX),
            };
            if keeps {
                self.keep(&message);
            }
            self.over = self.telemetry_messages >= last;
            if answers {
                return Some((Ok(self.say()), self));
            }
        }
        let broken = Status::unavailable("the script says to break here");
        (!self.ended).then(|| (Err(broken), Self { ended: true, ..self }))
    }

    fn keep(&mut self, message: &StreamTelemetryRequest) {
        let mut memory = lock(&self.memory);
        for (&step, &rate) in message.step.iter().zip(&message.learning_rate) {
            let step = u64::try_from(step).unwrap();
            match memory.record.get(&step) {
                None => drop(memory.record.insert(step, rate)),
                Some(known) if known.to_bits() == rate.to_bits() => self.answer.repeated_samples += 1,
                Some(_) => self.answer.conflicting_samples += 1,
            }
        }
        if let Some(through) = message.through_step {
            memory.complete_end = memory.complete_end.max(u64::try_from(through).unwrap() + 1);
        }
        self.answer.durable_messages += 1;
    }

    /// Answers with the durable steps, and with the directives that became final since the last answer.
    fn say(&mut self) -> StreamTelemetryResponse {
        let complete_end = lock(&self.memory).complete_end;
        let directive = |step: u64| Directive {
            step: step.cast_signed(),
            rates: rates(final_rate(step)),
            is_final: true,
            ..Default::default()
        };
        self.answer.directives = (self.next_directive..=complete_end).map(directive).collect();
        self.next_directive = complete_end + 1;
        self.answer.durable_through_step = complete_end.checked_sub(1).map(u64::cast_signed);
        self.answer.clone()
    }
}
