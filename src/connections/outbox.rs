//! What has been handed over to be written, and since when none of it was.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    task_local,
    time::{Instant, Interval, MissedTickBehavior, interval},
};

use super::pressure::Pressure;

/// How often it is looked whether somebody keeps the server waiting.
const TICK: Duration = Duration::from_millis(500);

task_local! {
    /// The outbox of the call or the connection whose task this is.
    static OUTBOX: Arc<Outbox>;
}

/// The pieces of answers that are not written yet: those of a connection, or of one stream of a connection.
#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    /// The outbox of the connection that this is a stream of.
    connection: Option<Arc<Outbox>>,
}

#[derive(Debug)]
struct State {
    pieces: usize,
    bytes: usize,
    /// When a piece was written last, or the first one handed over.
    moved: Instant,
    /// Who waits until all pieces but one are written.
    waiting: Option<Waker>,
    /// The stream's task has ended, so its connection looks after its pieces.
    is_left: bool,
}

impl Outbox {
    /// The outbox of a connection, or of a stream of `connection`.
    pub(super) fn new(connection: Option<Arc<Self>>) -> Arc<Self> {
        let state = State { pieces: 0, bytes: 0, moved: Instant::now(), waiting: None, is_left: false };
        Arc::new(Self { state: Mutex::new(state), connection })
    }

    /// Runs `work` for this outbox.
    pub(super) fn within<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        OUTBOX.sync_scope(Arc::clone(self), work)
    }

    /// The outbox that work is done for. `None` where nothing is written to a socket, as in a test.
    pub(super) fn current() -> Option<Arc<Self>> {
        OUTBOX.try_with(Arc::clone).ok()
    }

    /// A piece is on its way.
    pub(super) fn hand_over(&self, bytes: usize) {
        self.add(1, bytes);
    }

    fn add(&self, pieces: usize, bytes: usize) {
        let mut state = self.state();
        if state.pieces == 0 {
            state.moved = Instant::now();
        }
        state.pieces += pieces;
        state.bytes += bytes;
    }

    /// A piece has been written, or dropped.
    pub(super) fn written(&self, bytes: usize) {
        let mut state = self.state();
        state.pieces -= 1;
        state.bytes -= bytes;
        state.moved = Instant::now();
        let (is_left, waiting) = (state.is_left, if state.pieces <= 1 { state.waiting.take() } else { None });
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
        if let Some(connection) = self.connection.as_ref().filter(|_| is_left) {
            connection.written(bytes);
        }
    }

    /// Waits until all pieces but one are written.
    pub(super) fn poll_nearly_empty(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        if state.pieces <= 1 {
            return Poll::Ready(());
        }
        state.waiting = Some(context.waker().clone());
        Poll::Pending
    }

    /// Whether something waits to be written, and nothing has been for longer than `patience`.
    pub(super) fn is_stuck(&self, patience: Duration) -> bool {
        let state = self.state();
        state.pieces > 0 && state.moved.elapsed() > patience
    }

    /// The bytes on their way.
    pub(super) fn bytes(&self) -> usize {
        self.state().bytes
    }

    fn has_pieces(&self) -> bool {
        self.state().pieces > 0
    }

    /// Leaves what is not written yet to the connection.
    fn leave(&self) {
        let mut state = self.state();
        if let Some(connection) = self.connection.as_ref().filter(|_| !state.is_left) {
            state.is_left = true;
            if state.pieces > 0 {
                connection.add(state.pieces, state.bytes);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream of a connection, which is dropped, and so reset, if its reader does not read.
pub(super) struct Watched<F> {
    stream: Pin<Box<F>>,
    outbox: Arc<Outbox>,
    pressure: Pressure,
    write_timeout: Duration,
    ticks: Option<Interval>,
}

impl<F: Future<Output = ()>> Watched<F> {
    /// Watches over `stream`, which hands its pieces to an outbox of its own.
    pub(super) fn new(stream: F, connection: &Arc<Outbox>, pressure: Pressure, write_timeout: Duration) -> Self {
        let outbox = Outbox::new(Some(Arc::clone(connection)));
        Self { stream: Box::pin(stream), outbox, pressure, write_timeout, ticks: None }
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.outbox.within(|| this.stream.as_mut().poll(context)).is_ready() {
            return Poll::Ready(());
        }
        if this.outbox.has_pieces() {
            let ticks = this.ticks.get_or_insert_with(|| ticks(this.write_timeout));
            while ticks.poll_tick(context).is_ready() {
                if this.outbox.is_stuck(this.pressure.patience(this.write_timeout)) {
                    tracing::debug!("A stream was reset, because its reader does not read");
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }
}

impl<F> Drop for Watched<F> {
    fn drop(&mut self) {
        self.outbox.leave();
    }
}

/// Ticks for a look at what takes at most `longest`.
pub(super) fn ticks(longest: Duration) -> Interval {
    let mut ticks = interval(TICK.min(longest / 4).max(Duration::from_millis(10)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, future};
    use tokio_util::sync::CancellationToken;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn watched(connection: &Arc<Outbox>) -> Watched<impl Future<Output = ()> + use<>> {
        let stream = async {
            Outbox::current().unwrap().hand_over(7);
            future::pending::<()>().await;
        };
        Watched::new(stream, connection, Pressure::new(CancellationToken::new()), TIMEOUT)
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_whose_reader_does_not_read_ends_and_leaves_its_pieces_to_the_connection() {
        let connection = Outbox::new(None);
        let mut stream = watched(&connection);
        let outbox = Arc::clone(&stream.outbox);
        let begun = Instant::now();

        (&mut stream).await;

        assert!(begun.elapsed() > TIMEOUT && begun.elapsed() < TIMEOUT + 2 * TICK, "{:?}", begun.elapsed());
        drop(stream);
        assert!(connection.has_pieces());
        outbox.written(7);
        assert!(!connection.has_pieces());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_with_nothing_to_say_lives_on() {
        let connection = Outbox::new(None);
        let mut stream = watched(&connection);
        assert!((&mut stream).now_or_never().is_none());
        stream.outbox.written(7);
        assert!(tokio::time::timeout(100 * TIMEOUT, stream).await.is_err());
    }
}
