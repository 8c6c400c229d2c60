package x402

import "log/slog"

// Permit2Payload is the payload of exact over Permit2 and of upto. Addresses are 0x and 40 hex digits in the letter case
// that was sent; Amount, Nonce, Deadline (unix seconds) and ValidAfter (unix seconds) are canonical decimal uint256. Facilitator is upto's alone,
// empty for exact.
type Permit2Payload struct {
	Signature   []byte
	From        string
	Token       string
	Amount      string
	Spender     string
	Nonce       string
	Deadline    string
	To          string
	Facilitator string
	ValidAfter  string
}

// LogValue keeps signatures out of logs.
func (Permit2Payload) LogValue() slog.Value { return slog.StringValue(redacted) }

// String keeps signatures out of messages.
func (Permit2Payload) String() string { return redacted }

// GoString keeps signatures out of messages.
func (Permit2Payload) GoString() string { return redacted }

func (p *Payment) readPermit2(o object) error {
	payload, err := o.object("payload")
	if err != nil {
		return err
	}
	if !payload.has("permit2Authorization") {
		// The scheme is what does not fit: nobody offers upto over EIP-3009.
		return Refuse(ReasonUnsupportedScheme, "scheme", "upto is paid by a permit2Authorization")
	}
	auth, err := payload.object("permit2Authorization")
	if err != nil {
		return err
	}
	permitted, err := auth.object("permitted")
	if err != nil {
		return err
	}
	witness, err := auth.object("witness")
	if err != nil {
		return err
	}
	m := new(Permit2Payload)
	if err := auth.texts(member{"from", &m.From}, member{"spender", &m.Spender}, member{"nonce", &m.Nonce}, member{"deadline", &m.Deadline}); err != nil {
		return err
	}
	if err := permitted.texts(member{"token", &m.Token}, member{"amount", &m.Amount}); err != nil {
		return err
	}
	if err := witness.texts(member{"to", &m.To}, member{"validAfter", &m.ValidAfter}); err != nil {
		return err
	}
	if p.Scheme == SchemeUpto {
		if err := witness.texts(member{"facilitator", &m.Facilitator}); err != nil {
			return err
		}
	}
	for _, f := range []struct{ at, text string }{{"from", m.From}, {"spender", m.Spender}, {"permitted.token", m.Token}, {"witness.to", m.To},
		{"witness.facilitator", m.Facilitator}} {
		if !addressForm.MatchString(f.text) && (f.at != "witness.facilitator" || p.Scheme == SchemeUpto) {
			return Refuse(ReasonInvalidPayload, join(auth.at, f.at), "must be 0x and 40 hex digits")
		}
	}
	for _, f := range []struct{ at, text string }{{"permitted.amount", m.Amount}, {"nonce", m.Nonce}, {"deadline", m.Deadline}, {"witness.validAfter", m.ValidAfter}} {
		if !isUint256(f.text) {
			return Refuse(ReasonInvalidPayload, join(auth.at, f.at), "must be a whole number below 2^256 in decimal digits")
		}
	}
	if m.Signature, err = payload.bytes("signature"); err != nil {
		return err
	}
	p.Permit2 = m
	return nil
}
