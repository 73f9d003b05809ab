//! The same responses through hyper's HTTP/1.1 client and through Pointsman: whole, and in two pieces at every byte.

mod corpus;
mod deviations;
mod differential;
mod hyper_reading;
mod own_reading;
mod reading;
mod requests;
