// Command agnes-ws-gateway tells browsers and other clients what happens.
package main

import (
	"github.com/agnes-platform/agnes/pkg/service"
	"github.com/agnes-platform/agnes/services/wsgateway"
)

func main() { service.Main("agnes-ws-gateway", wsgateway.Run) }
