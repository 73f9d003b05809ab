//! Asks a question once.

use super::exchange::AskedProgram;
use super::question::{Asked, Reply};
use super::{prometheus, webhook};

/// Asks a question once, and reads the answer.
pub(super) async fn ask(peer: &AskedProgram, asked: &Asked) -> Reply {
    let call = match asked {
        Asked::Webhook { body, .. } => webhook::call(peer.path(), body),
        Asked::Prometheus { query, .. } => prometheus::call(peer.path(), query),
    };
    let answer = match peer.send(call).await {
        Ok(answer) => answer,
        Err(why) => return Reply::Failed(why),
    };
    let reply = match asked {
        Asked::Webhook { .. } => webhook::read(&answer)
            .map(|verdict| Reply::Webhook { pass: verdict.pass, reason: peer.covered(verdict.reason) }),
        Asked::Prometheus { .. } => prometheus::read(&answer).map(Reply::Value),
    };
    reply.unwrap_or_else(|why| Reply::Failed(peer.line(&why)))
}
