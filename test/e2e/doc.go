// Package e2e tests whole trees: an encoder pushes to CAST, CAST multicasts to RELAY, RELAY multicasts to BEACONs, and
// players read from those. All nodes run in the test's process over real sockets on the loopback interface; the encoder
// and the players are FFmpeg where a test says so.
//
// Every test draws its own groups, ports and addresses in 127/8, so that runs on one machine do not meet. The tests need
// no privileges. Without FFmpeg those that use it are skipped, unless TREEDN_REQUIRE lists ffmpeg.
//
// They pass on a machine that is busy with other tests; what they ask of time there is little. With TREEDN_QUIET=1, a
// promise that nothing else runs, TestLoss, TestFragmentOvertakesSegment, TestHostileSender and BenchmarkLatency assert the
// figures that such a machine shows.
package e2e
