// Package amt carries multicast over networks that have none: Automatic
// Multicast Tunneling (RFC 7450). Package ssm below it has the sockets for
// native source-specific multicast, package gmp the group management protocols
// IGMP and MLD.
package amt
