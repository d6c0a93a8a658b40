// Package route sends and receives objects by ROUTE (RFC 9223).
package route
