// Package tcp carries messages and snapshots between nodes over TCP, with or
// without TLS. It decides when connections are made, who is let in, what waits and
// what is dropped; it refuses to interpret a message, and it promises no delivery.
//
// Between two nodes there is one connection for messages in each direction: who
// dials it sends, who accepts it receives. Each snapshot has a connection of its
// own, so that it never delays a heartbeat. A connection begins with a handshake
// in which both sides name their cluster, node and incarnation and ask
// [transport.Handler.Admit] about the other (PS-10).
//
// Without TLS the names in a handshake are believed: run it so only where the
// network is trusted. With TLS both sides prove that they hold a certificate of
// the authority, and with [TLSConfig.NodeName] that it was made for that node.
package tcp
