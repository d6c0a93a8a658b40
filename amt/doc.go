// Package amt carries multicast reception: native SSM now, AMT tunnels as they come.
package amt
