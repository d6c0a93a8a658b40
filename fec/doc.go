// Package fec gathers the forward error correction schemes of multicast object delivery.
package fec
