package x402

// Error is a refused payment: the protocol's reason, the field at fault and words for a person. It never holds a
// signature, nor any other value that was sent.
type Error struct {
	Reason  Reason
	Field   string // dotted path in the payment, or the header's name; "" when the whole is at fault
	Message string
}

// Error is the text for logs.
func (e *Error) Error() string {
	text := "x402: " + string(e.Reason)
	if e.Field != "" {
		text += " (" + e.Field + ")"
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Refuse makes an Error.
func Refuse(reason Reason, field, message string) *Error {
	return &Error{Reason: reason, Field: field, Message: message}
}
