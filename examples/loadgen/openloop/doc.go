// Package openloop sends requests at times fixed beforehand and measures each from the time it was due.
//
// The times are those of a Poisson process. Nothing that the service does moves a later request: a
// request that finds every connection busy waits in a queue, and the wait counts as its latency, as it
// would for one of many independent clients. A closed loop, which sends when the previous answer is in,
// asks a stalled service fewer questions while it is stalled and so hides the stall (coordinated
// omission).
//
// It is not a general HTTP load tool: one target, one kind of request. The well-kept tools that were
// looked at are not open loop in this sense. Vegeta (12.13) lets a custom Pacer draw Poisson gaps, but
// starts a request's clock when a worker picks it up, so time lost before that, in its own scheduling
// or waiting for a worker, is not measured.
//
// Units: latencies are recorded in microseconds and reported in milliseconds.
//
// The trap: on the machine under test the load generator competes with what it measures. The clients
// it stands for are elsewhere, so give it real-time priority (see loadgen's --realtime) and look at
// send_lag_p99_ms, which says how late it was itself, and at_service_p99_ms, which leaves its own waits out.
package openloop
