package x402

// Reason is the protocol's name for a refusal, as clients and facilitators know it.
type Reason string

// The reasons that are given here.
const (
	ReasonInvalidPayload     Reason = "invalid_payload"
	ReasonInvalidVersion     Reason = "invalid_x402_version"
	ReasonNoMatch            Reason = "No matching payment requirements"
	ReasonUnsupportedScheme  Reason = "unsupported_scheme"
	ReasonInvalidNetwork     Reason = "invalid_network"
	ReasonScheme             Reason = "invalid_exact_evm_scheme"
	ReasonMissingDomain      Reason = "invalid_exact_evm_missing_eip712_domain"
	ReasonNetworkMismatch    Reason = "invalid_exact_evm_network_mismatch"
	ReasonFactory            Reason = "eip6492_factory_not_allowed"
	ReasonSignature          Reason = "invalid_exact_evm_signature"
	ReasonRecipient          Reason = "invalid_exact_evm_recipient_mismatch"
	ReasonValidBefore        Reason = "invalid_exact_evm_payload_authorization_valid_before"
	ReasonValidAfter         Reason = "invalid_exact_evm_payload_authorization_valid_after"
	ReasonValue              Reason = "invalid_exact_evm_payload_authorization_value_mismatch"
	ReasonValueV1            Reason = "invalid_exact_evm_authorization_value"
	ReasonAssetNotDeployed   Reason = "asset_not_deployed_contract"
	ReasonNotSupported       Reason = "invalid_exact_evm_eip3009_not_supported"
	ReasonNonceUsed          Reason = "invalid_exact_evm_nonce_already_used"
	ReasonTokenName          Reason = "invalid_exact_evm_token_name_mismatch"
	ReasonTokenVersion       Reason = "invalid_exact_evm_token_version_mismatch"
	ReasonBalance            Reason = "invalid_exact_evm_insufficient_balance"
	ReasonSimulation         Reason = "invalid_exact_evm_transaction_simulation_failed"
	ReasonTransactionFailed  Reason = "invalid_exact_evm_transaction_failed"
	ReasonSettlementPending  Reason = "settlement_pending"
	ReasonDuplicate          Reason = "duplicate_settlement"
	ReasonUnexpectedVerify   Reason = "unexpected_verify_error"
	ReasonUnexpectedSettle   Reason = "unexpected_settle_error"
	ReasonInvalidRequirement Reason = "invalid_payment_requirements"
)

// Error is a refused payment: the protocol's reason, the field at fault and words for a person. It never holds a
// signature.
type Error struct {
	Reason  Reason
	Field   string
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
