//! The questions that rollouts ask now. Each is asked at its interval in a task of its own; an answer is an event. A slow
//! program delays only its own question.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::exchange::AskedProgram;
use super::question::{Asked, Question, QuestionId, Replied, Reply};
use super::reply::ask;
use crate::clock::Clock;
use crate::control::event::{Event, ReleaseEvent};
use crate::control::state::ControlState;

/// How many questions of gates wait for an answer at once; as many of guards do, which no gate delays.
const IN_FLIGHT_MAX: usize = 64;

/// The least time between two questions to one program.
const EVERY_MIN: Duration = Duration::from_millis(1);

/// The questions that are asked now.
#[derive(Debug)]
pub(in crate::control) struct Questions {
    asked: BTreeMap<QuestionId, AskedNow>,
    places_of_gates: Arc<Semaphore>,
    places_of_guards: Arc<Semaphore>,
}

/// A question that is asked now.
#[derive(Debug)]
struct AskedNow {
    question: Question,
    /// Since this time, in milliseconds since the process started.
    since_ms: u64,
    /// What the task asks the next time.
    next: watch::Sender<Asked>,
    _task: AskingTask,
}

/// A task that ends with this value.
#[derive(Debug)]
struct AskingTask(JoinHandle<()>);

/// What a task reports with.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    pub events: mpsc::Sender<Event>,
    pub clock: Clock,
    pub started: Instant,
}

impl Default for Questions {
    fn default() -> Self {
        let places = || Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        Self { asked: BTreeMap::new(), places_of_gates: places(), places_of_guards: places() }
    }
}

impl Questions {
    /// Asks these questions from now on, and no others. Those that are asked already go on, also where the weight in the body
    /// of a webhook differs. Returns those that begin: an answer from before is not an answer to them.
    pub fn follow(
        &mut self,
        wanted: Vec<Question>,
        events: &mpsc::Sender<Event>,
        state: &ControlState,
    ) -> Vec<QuestionId> {
        let reporter = Reporter { events: events.clone(), clock: state.clock, started: state.counts.registry.started };
        self.follow_for(wanted, &reporter)
    }

    /// Whether an answer is one to a question that is asked now.
    #[must_use]
    pub fn accepts(&self, replied: &Replied) -> bool {
        self.asked.get(&replied.id).is_some_and(|now| replied.asked_ms >= now.since_ms)
    }

    pub(super) fn follow_for(&mut self, wanted: Vec<Question>, reporter: &Reporter) -> Vec<QuestionId> {
        let (mut before, mut begun) = (std::mem::take(&mut self.asked), Vec::new());
        for question in wanted {
            let same = before.remove(&question.id).filter(|now| now.question.is_same_as(&question));
            let now = if let Some(same) = same {
                same.goes_on_with(question)
            } else {
                begun.push(question.id.clone());
                self.begin(question, reporter)
            };
            self.asked.insert(now.question.id.clone(), now);
        }
        begun
    }

    fn begin(&self, question: Question, reporter: &Reporter) -> AskedNow {
        let (next, asked) = watch::channel(question.asked.clone());
        let asking = Asking { id: question.id.clone(), every: question.every.max(EVERY_MIN), asked };
        let places = match &asking.id {
            QuestionId::Gate { .. } => &self.places_of_gates,
            QuestionId::Guard { .. } => &self.places_of_guards,
        };
        let task = tokio::spawn(asking.run(reporter.clone(), Arc::clone(places)));
        AskedNow { question, since_ms: reporter.now_ms(), next, _task: AskingTask(task) }
    }
}

impl AskedNow {
    fn goes_on_with(mut self, question: Question) -> Self {
        if self.question.asked != question.asked {
            self.next.send_replace(question.asked.clone());
        }
        self.question = question;
        self
    }
}

impl Drop for AskingTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Reporter {
    /// Milliseconds since the process started.
    fn now_ms(&self) -> u64 {
        let uptime = self.clock.now().saturating_duration_since(self.started);
        u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The work of a task.
struct Asking {
    id: QuestionId,
    every: Duration,
    asked: watch::Receiver<Asked>,
}

impl Asking {
    async fn run(self, reporter: Reporter, places: Arc<Semaphore>) {
        let peer = AskedProgram::of(&self.asked.borrow());
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // The semaphore is never closed.
            let Ok(place) = places.acquire().await else { return };
            let asked = self.asked.borrow().clone();
            let asked_ms = reporter.now_ms();
            let reply = match &peer {
                Ok(peer) => ask(peer, &asked).await,
                Err(why) => Reply::Failed(why.clone()),
            };
            drop(place);
            let replied = Box::new(Replied { id: self.id.clone(), reply, asked_ms });
            if reporter.events.send(Event::Release(ReleaseEvent::Replied(replied))).await.is_err() {
                // The controller has ended.
                return;
            }
        }
    }
}
