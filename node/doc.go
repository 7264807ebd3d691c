// Package node is what runs on a node beside the recording of calls: so far its
// metrics, for Prometheus, and its health. It may import all but the commands.
package node
