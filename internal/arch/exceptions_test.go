package arch_test

// Exceptions: what is excused -> why. Each must be needed; an idle one fails.
var (
	// importExceptions is "folder -> import path".
	importExceptions = map[string]string{
		"gateway/api -> p402.io/p402/internal/store":          "reads have one implementation and dozens of row shapes; a port with a copy of each would only restate them",
		"gateway/dashboard -> p402.io/p402/internal/store":    "as gateway/api: pages and API show the same reads",
		"gateway/openai -> p402.io/p402/internal/provider":    "frames and body edits are vendor quirks, and provider is where those end",
		"gateway/anthropic -> p402.io/p402/internal/provider": "as gateway/openai",
		"gateway/anthropic -> p402.io/p402/gateway/openai":    "one handler runs every inference route; Anthropic's differs in its form and its errors",
		"gateway/sell -> p402.io/p402/gateway/openai":         "a sold model answers as /v1 does: the paid surface is that surface, seen by a stranger",
	}
	// sizeExceptions is "file" or "file Function" or "file Type.Method".
	sizeExceptions = map[string]string{}
	// stateExceptions is "folder name".
	stateExceptions = map[string]string{
		"contracts USDC":              "bindings of a compiled contract, never written to",
		"contracts Multicall3":        "bindings of a compiled contract, never written to",
		"contracts Permit2":           "bindings of a compiled contract, never written to",
		"contracts ExactPermit2Proxy": "bindings of a compiled contract, never written to",
		"contracts UptoPermit2Proxy":  "bindings of a compiled contract, never written to",
		"contracts ERC1271Wallet":     "bindings of a compiled contract, never written to",
		"contracts Delegate7702":      "bindings of a compiled contract, never written to",
		"internal/crash passes":       "one chosen crash a process, in the chaos build alone",
		"internal/money Zero":         "the zero of USD, which has no literal; its fields cannot be reached from outside",
		"internal/pgtest shared":      "one private server a test process: nothing in a test binary runs after the last test",
		"settlement/evm suffix6492":   "the marker bytes of ERC-6492, which Go has no constant form for",
	}
	// floatExceptions is a file.
	floatExceptions = map[string]string{}
	// clockExceptions is a file.
	clockExceptions = map[string]string{
		"gateway/deadline.go": "a connection's deadline is the kernel's, whatever time a test says it is",
	}
)
