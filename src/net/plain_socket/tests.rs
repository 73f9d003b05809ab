//! Tests of cleartext sockets: the wake-ups of readers, ends, failures, and room.

use std::future::{poll_fn, ready};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream as Peer};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::Duration;

use proptest::prelude::*;
use tokio::task::coop::{cooperative, has_budget_remaining};

use super::*;

/// Much longer than anything here takes.
const AMPLE: Duration = Duration::from_secs(30);

/// A task that counts how often it is woken.
#[derive(Default)]
struct Task(AtomicUsize);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A socket, and its peer.
fn pair() -> (PlainSocket, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = Peer::connect(listener.local_addr().unwrap()).unwrap();
    near.set_nonblocking(true).unwrap();
    (TcpStream::from_std(near).unwrap().into(), listener.accept().unwrap().0)
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(AMPLE, test).await.expect("it does not hang") })
}

/// Waits until bytes or the end have arrived, without a read. The socket's other reader keeps its waker.
async fn arrived(socket: &PlainSocket) {
    socket.stream.readable().await.unwrap();
}

fn read_with(socket: &PlainSocket, waker: &Waker, room: usize) -> Poll<io::Result<usize>> {
    socket.poll_read_head(&mut Context::from_waker(waker), &mut vec![0; room])
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The task with this index reads a head.
    Head(usize),
    /// It asks only whether bytes have arrived.
    Ready(usize),
    /// It reads within its budget.
    Body(usize),
    /// The peer sends as many bytes.
    Sends(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let task = || 0..2_usize;
    let step = prop_oneof![
        task().prop_map(Step::Head),
        task().prop_map(Step::Ready),
        task().prop_map(Step::Body),
        (1..12_usize).prop_map(Step::Sends),
    ];
    prop::collection::vec(step, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bytes_wake_the_task_that_was_pending_last(steps in steps()) {
        run(async {
            let (mut socket, mut peer) = pair();
            let tasks = [Arc::new(Task::default()), Arc::new(Task::default())];
            let wakers = [0, 1].map(|index: usize| Waker::from(Arc::clone(&tasks[index])));
            let (mut unread, mut waiting) = (0_usize, None::<usize>);
            for step in steps {
                let (index, read) = match step {
                    Step::Sends(count) => {
                        let woken = tasks.each_ref().map(|task| task.0.load(Ordering::Relaxed));
                        peer.write_all(&vec![7; count]).unwrap();
                        unread += count;
                        arrived(&socket).await;
                        while let Some(index) = waiting
                            && tasks[index].0.load(Ordering::Relaxed) == woken[index]
                        {
                            tokio::task::yield_now().await;
                        }
                        waiting = None;
                        continue;
                    }
                    Step::Head(index) => (index, read_with(&socket, &wakers[index], 8)),
                    Step::Ready(index) => {
                        let cx = &mut Context::from_waker(&wakers[index]);
                        (index, socket.poll_read_ready(cx).map(|ready| ready.map(|()| 0)))
                    }
                    Step::Body(index) => {
                        let mut bytes = [0; 8];
                        let mut buffer = ReadBuf::new(&mut bytes);
                        let polled = socket.poll_read(&mut Context::from_waker(&wakers[index]), &mut buffer);
                        (index, polled.map(|read| read.map(|()| buffer.filled().len())))
                    }
                };
                match read {
                    Poll::Ready(read) => unread -= read.unwrap(),
                    Poll::Pending => {
                        assert_eq!(unread, 0, "all bytes that have arrived are read");
                        waiting = Some(index);
                    }
                }
            }
        });
    }
}

#[test]
fn a_task_without_a_budget_is_woken_again() {
    run(async {
        let (socket, mut peer) = pair();
        let mut polls = 0;
        let read = poll_fn(|cx| {
            polls += 1;
            if polls == 1 {
                while has_budget_remaining() {
                    assert!(pin!(cooperative(ready(()))).poll(cx).is_ready());
                }
            }
            if polls == 2 {
                assert!(socket.poll_read_head(cx, &mut [0; 8]).is_pending());
                peer.write_all(b"late").unwrap();
            }
            socket.poll_read_head(cx, &mut [0; 8])
        });
        assert_eq!(read.await.unwrap(), 4);
    });
}

#[test]
fn the_end_and_a_failure_are_seen() {
    run(async {
        let (socket, mut peer) = pair();
        peer.write_all(b"last").unwrap();
        drop(peer);
        arrived(&socket).await;
        let mut read = Vec::new();
        while read.last() != Some(&0) {
            read.push(poll_fn(|cx| socket.poll_read_head(cx, &mut [0; 3])).await.unwrap());
        }
        assert_eq!(read, [3, 1, 0]);

        let (socket, peer) = pair();
        rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
        drop(peer);
        let error = poll_fn(|cx| socket.poll_read_head(cx, &mut [0; 3])).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = poll_fn(|cx| socket.poll_write(cx, b"more")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_write_waits_for_room() {
    run(async {
        let (socket, mut peer) = pair();
        let task = Arc::new(Task::default());
        let waker = Waker::from(Arc::clone(&task));
        let bytes = vec![7; 1 << 20];
        let mut written = 0_usize;
        while let Poll::Ready(more) = socket.poll_write(&mut Context::from_waker(&waker), &bytes) {
            written += more.unwrap();
        }
        assert_eq!(task.0.load(Ordering::Relaxed), 0, "nothing is read yet");
        let reader = std::thread::spawn(move || {
            let mut read = Vec::new();
            peer.read_to_end(&mut read).unwrap();
            read.len()
        });
        while task.0.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        written += poll_fn(|cx| socket.poll_write(cx, &bytes)).await.unwrap();
        drop(socket);
        assert_eq!(reader.join().unwrap(), written);
    });
}
