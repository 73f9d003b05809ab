//! The same requests through hyper's HTTP/1.1 server and through Pointsman: whole, and in two pieces at every byte.

mod differential;
mod hyper_reading;
mod own_reading;
mod reading;
