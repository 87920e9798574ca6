//! Answers on their way out: charged for, cut into pieces, and watched until the last byte has been written.
//!
//! The HTTP library drops a piece when it has written it. So a piece holds what must not be given back before that: the
//! slot of its call, and its part of the memory for answers.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::AcquireError;

use super::{
    budget::{Budget, Charge, UsedUp},
    call::{Call, Held, take_held},
    outbox::Outbox,
};

/// The size of a piece. The HTTP library takes a whole piece, however little the reader is ready to read.
const PIECE: usize = 16 << 10;

/// The body of an answer.
pub struct AnswerBody<B: Body> {
    /// `None` after its end.
    inner: Option<B>,
    budget: Budget,
    guards: Guards,
    /// A part of the body for which there is no memory yet.
    waiting: Option<(Bytes, BoxFuture<'static, Result<Charge, AcquireError>>)>,
    /// What is left of the part that is being cut into pieces, and what its pieces keep.
    rest: Bytes,
    kept: Arc<Kept>,
    /// What comes after the rest.
    next: Option<Result<HeaderMap, B::Error>>,
}

/// What is given back when an answer has been written.
#[derive(Clone)]
struct Guards {
    _held: Held,
    _call: Arc<Call>,
}

/// What the pieces of a part of an answer keep until all of them have been written.
struct Kept {
    _charge: Option<Charge>,
    _guards: Guards,
}

/// Makes the beginning of an answer, which is all of it unless it is a stream, and charges for it. An answer for which
/// there is no memory is dropped, and `refuse` makes another.
pub(super) async fn begin<B>(
    mut answer: Response<B>,
    call: Arc<Call>,
    budget: &Budget,
    refuse: impl FnOnce(UsedUp) -> Response<B>,
) -> Response<AnswerBody<B>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let guards = Guards { _held: take_held(&mut answer), _call: call };
    if answer.body().is_end_stream() {
        return answer.map(|body| AnswerBody::new(body, budget, guards));
    }
    let first = poll_fn(|context| Poll::Ready(Pin::new(answer.body_mut()).poll_frame(context))).await;
    let charge = match &first {
        Poll::Ready(Some(Ok(frame))) => budget.take(frame.data_ref().map_or(0, Bytes::len)),
        _ => Ok(None),
    };
    let charge = match charge {
        Ok(charge) => charge,
        Err(used_up) => {
            drop(first);
            return refuse(used_up).map(|body| AnswerBody::new(body, budget, guards));
        }
    };
    answer.map(|body| {
        let mut body = AnswerBody::new(body, budget, guards);
        match first {
            Poll::Pending => {}
            Poll::Ready(None) => body.inner = None,
            Poll::Ready(Some(Err(problem))) => body.next = Some(Err(problem)),
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => body.cut(data, charge),
                Err(frame) => body.next = frame.into_trailers().ok().map(Ok),
            },
        }
        body
    })
}

impl<B: Body<Data = Bytes> + Unpin> AnswerBody<B> {
    fn new(inner: B, budget: &Budget, guards: Guards) -> Self {
        let kept = Arc::new(Kept { _charge: None, _guards: guards.clone() });
        let budget = budget.clone();
        Self { inner: Some(inner), budget, guards, waiting: None, rest: Bytes::new(), kept, next: None }
    }

    /// Cuts a part of the body into pieces.
    fn cut(&mut self, data: Bytes, charge: Option<Charge>) {
        self.rest = data;
        self.kept = Arc::new(Kept { _charge: charge, _guards: self.guards.clone() });
    }

    /// The next piece of a part.
    fn piece(&mut self) -> Bytes {
        let bytes = self.rest.split_to(PIECE.min(self.rest.len()));
        let outbox = Outbox::current();
        if let Some(outbox) = &outbox {
            outbox.hand_over(bytes.len());
        }
        Bytes::from_owner(Piece { bytes, outbox, _kept: Arc::clone(&self.kept) })
    }
}

impl<B: Body<Data = Bytes, Error: Unpin> + Unpin> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        loop {
            if !this.rest.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(this.piece()))));
            }
            if let Some(next) = &this.next {
                // A stream that has ended can no longer be reset: its end waits until nearly all of it is written.
                if let (Ok(_), Some(outbox)) = (next, Outbox::current()) {
                    ready!(outbox.poll_nearly_empty(context));
                }
                this.inner = None;
                return Poll::Ready(this.next.take().map(|next| next.map(Frame::trailers)));
            }
            if let Some((_, charge)) = &mut this.waiting {
                // A budget is never closed.
                let charge = ready!(charge.as_mut().poll(context)).ok();
                if let Some((data, _)) = this.waiting.take() {
                    this.cut(data, charge);
                }
                continue;
            }
            let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
            match ready!(Pin::new(inner).poll_frame(context)) {
                None => this.inner = None,
                Some(Err(problem)) => this.next = Some(Err(problem)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        match this.budget.wait(data.len(), Outbox::current().map_or(0, |outbox| outbox.bytes())) {
                            Some(charge) => this.waiting = Some((data, Box::pin(charge))),
                            None => this.cut(data, None),
                        }
                    }
                    Err(frame) => this.next = frame.into_trailers().ok().map(Ok),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_empty = self.rest.is_empty() && self.next.is_none() && self.waiting.is_none();
        is_empty && self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let waiting = self.waiting.as_ref().map_or(0, |(data, _)| data.len());
        let known = u64::try_from(self.rest.len() + waiting).unwrap_or(u64::MAX);
        match self.inner.as_ref().map_or(Some(0), |inner| inner.size_hint().exact()) {
            Some(more) => SizeHint::with_exact(known + more),
            None => SizeHint::default(),
        }
    }
}

/// A piece of an answer. It is dropped when it has been written, or given up.
struct Piece {
    bytes: Bytes,
    outbox: Option<Arc<Outbox>>,
    _kept: Arc<Kept>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(outbox) = &self.outbox {
            outbox.written(self.bytes.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::connections::{Pressure, call::Calls, hold};

    fn budget() -> Budget {
        Budget::new("response_bytes", 1 << 20, Pressure::new(CancellationToken::new()))
    }

    async fn answer(budget: &Budget, bytes: usize, slot: Arc<()>) -> Response<AnswerBody<Full<Bytes>>> {
        let mut answer = Response::new(Full::from(vec![7; bytes]));
        hold(&mut answer, slot);
        begin(answer, Calls::new().begin(), budget, |used_up| Response::new(Full::from(used_up.to_string()))).await
    }

    #[tokio::test]
    async fn slot_and_memory_are_given_back_when_the_last_piece_has_been_written() {
        let (budget, slot) = (budget(), Arc::new(()));
        let mut body = answer(&budget, 600_000, Arc::clone(&slot)).await.into_body();
        assert_eq!(body.size_hint().exact(), Some(600_000));
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap());
        }
        assert_eq!(
            (pieces.len(), pieces.iter().map(Bytes::len).sum::<usize>()),
            (600_000_usize.div_ceil(PIECE), 600_000)
        );
        drop(body);
        pieces.truncate(1);
        assert!(budget.take(600_000).is_err());
        assert_eq!(Arc::strong_count(&slot), 2);
        pieces.clear();
        assert!(budget.take(600_000).is_ok());
        assert_eq!(Arc::strong_count(&slot), 1);
    }

    #[tokio::test]
    async fn an_answer_without_room_is_replaced_by_a_refusal() {
        let (budget, slot) = (budget(), Arc::new(()));
        let _first = answer(&budget, 600_000, Arc::clone(&slot)).await;
        let refused = answer(&budget, 600_000, slot).await.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(refused, "response_bytes, 1048576 bytes, is used up");
    }
}
