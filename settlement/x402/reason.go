package x402

import "regexp"

// Reason is the protocol's name for a refusal, as clients and facilitators know it. Reasons from outside may be any text.
type Reason string

// Class says who can do something about a reason.
type Class string

// The classes of reasons.
const (
	ClassPayer   Class = "payer"   // the payer must do something else: the same payment will be refused again
	ClassRetry   Class = "retry"   // the same payment may pass later; never ask for a fresh signature
	ClassOurs    Class = "ours"    // offer, configuration or network is at fault, not the payer
	ClassUnknown Class = "unknown" // a reason that is not in the tables, such as another facilitator's own
)

// Reasons of any scheme and of exact over EIP-3009.
const (
	// General: any scheme.
	ReasonInvalidPayload     Reason = "invalid_payload"                  // the payment cannot be read
	ReasonInvalidVersion     Reason = "invalid_x402_version"             // x402Version is missing or no version
	ReasonNoMatch            Reason = "No matching payment requirements" // what the client accepted is not what is offered; the v2 text
	ReasonUnsupportedScheme  Reason = "unsupported_scheme"               // a scheme that is not offered
	ReasonUnsupportedPayload Reason = "unsupported_payload_type"         // a payload kind that is not offered
	ReasonInvalidScheme      Reason = "invalid_scheme"                   // v1: scheme and requirements differ
	ReasonInvalidNetwork     Reason = "invalid_network"                  // a network that is unknown or not served
	ReasonInvalidRequirement Reason = "invalid_payment_requirements"     // the resource server's requirements cannot be read or are not served
	ReasonInvalidPayment     Reason = "invalid_payment"                  // v1: refused without a closer reason
	ReasonPaymentExpired     Reason = "payment_expired"                  // v1: the authorization's time is over
	ReasonInsufficientFunds  Reason = "insufficient_funds"               // v1: the payer's balance is too small
	ReasonExtensionEcho      Reason = "extension_echo_mismatch"          // an advertised extension came back changed
	ReasonDuplicate          Reason = "duplicate_settlement"             // this authorization pays for something else already
	ReasonSettlementPending  Reason = "settlement_pending"               // sent, not yet seen in a block: ask again with the same payment, never with a new one
	ReasonTransactionState   Reason = "invalid_transaction_state"        // the transaction is not where it should be
	ReasonUnexpectedVerify   Reason = "unexpected_verify_error"          // verification failed by no fault of the payment
	ReasonUnexpectedSettle   Reason = "unexpected_settle_error"          // settlement failed by no fault of the payment

	// Scheme exact over EIP-3009, in the order in which they are checked, then from settling.
	ReasonScheme            Reason = "invalid_exact_evm_scheme"                               // scheme is not exact on both sides
	ReasonMissingDomain     Reason = "invalid_exact_evm_missing_eip712_domain"                // the offer lacks extra.name or extra.version
	ReasonNetworkMismatch   Reason = "invalid_exact_evm_network_mismatch"                     // accepted and offered network differ
	ReasonFactory           Reason = "eip6492_factory_not_allowed"                            // an undeployed wallet whose factory is not allowed
	ReasonSignature         Reason = "invalid_exact_evm_signature"                            // the signature is not the payer's
	ReasonRecipient         Reason = "invalid_exact_evm_recipient_mismatch"                   // to is not payTo
	ReasonValidBefore       Reason = "invalid_exact_evm_payload_authorization_valid_before"   // expired, or about to
	ReasonValidAfter        Reason = "invalid_exact_evm_payload_authorization_valid_after"    // not valid yet
	ReasonValue             Reason = "invalid_exact_evm_payload_authorization_value_mismatch" // value is not the amount: less and more are refused alike
	ReasonValueV1           Reason = "invalid_exact_evm_authorization_value"                  // the same, from a 2.x facilitator about a v1 payment
	ReasonAssetNotDeployed  Reason = "asset_not_deployed_contract"                            // there is no contract at the asset's address
	ReasonNotSupported      Reason = "invalid_exact_evm_eip3009_not_supported"                // the asset does not know EIP-3009
	ReasonNonceUsed         Reason = "invalid_exact_evm_nonce_already_used"                   // used or cancelled: no proof of payment
	ReasonTokenName         Reason = "invalid_exact_evm_token_name_mismatch"                  // extra.name is not the token's
	ReasonTokenVersion      Reason = "invalid_exact_evm_token_version_mismatch"               // extra.version is not the token's
	ReasonBalance           Reason = "invalid_exact_evm_insufficient_balance"                 // the payer's balance is too small
	ReasonSimulation        Reason = "invalid_exact_evm_transaction_simulation_failed"        // the transfer would revert for a reason not found
	ReasonTransactionFailed Reason = "invalid_exact_evm_transaction_failed"                   // the transfer reverted or could not be sent
	ReasonTransferEvent     Reason = "invalid_exact_evm_transfer_event_mismatch"              // mined without the Transfer that was expected
	ReasonWalletDeployment  Reason = "smart_wallet_deployment_failed"                         // the payer's wallet could not be deployed
	ReasonParseSignature    Reason = "invalid_exact_evm_failed_to_parse_signature"            // the signature's bytes make no sense

	// What legacy v1 code calls the same.
	ReasonV1Value      Reason = "invalid_exact_evm_payload_authorization_value"     // value is not the amount
	ReasonV1Signature  Reason = "invalid_exact_evm_payload_signature"               // the signature is not the payer's
	ReasonV1Recipient  Reason = "invalid_exact_evm_payload_recipient_mismatch"      // to is not payTo
	ReasonV1Undeployed Reason = "invalid_exact_evm_payload_undeployed_smart_wallet" // the payer's wallet is not deployed
)

// exactClasses: see Reason.Class.
var exactClasses = map[Reason]Class{
	ReasonInvalidPayload: ClassPayer, ReasonInvalidVersion: ClassPayer, ReasonNoMatch: ClassPayer,
	ReasonUnsupportedScheme: ClassPayer, ReasonUnsupportedPayload: ClassPayer, ReasonInvalidScheme: ClassPayer,
	ReasonInvalidNetwork: ClassPayer, ReasonInvalidRequirement: ClassOurs, ReasonInvalidPayment: ClassPayer,
	ReasonPaymentExpired: ClassPayer, ReasonInsufficientFunds: ClassPayer, ReasonExtensionEcho: ClassPayer,
	ReasonDuplicate: ClassPayer, ReasonSettlementPending: ClassRetry, ReasonTransactionState: ClassRetry,
	ReasonUnexpectedVerify: ClassRetry, ReasonUnexpectedSettle: ClassRetry, ReasonScheme: ClassPayer,
	ReasonMissingDomain: ClassOurs, ReasonNetworkMismatch: ClassPayer, ReasonFactory: ClassPayer,
	ReasonSignature: ClassPayer, ReasonRecipient: ClassPayer, ReasonValidBefore: ClassPayer,
	ReasonValidAfter: ClassPayer, ReasonValue: ClassPayer, ReasonValueV1: ClassPayer,
	ReasonAssetNotDeployed: ClassOurs, ReasonNotSupported: ClassOurs, ReasonNonceUsed: ClassPayer,
	ReasonTokenName: ClassOurs, ReasonTokenVersion: ClassOurs, ReasonBalance: ClassPayer,
	ReasonSimulation: ClassPayer, ReasonTransactionFailed: ClassRetry, ReasonTransferEvent: ClassOurs,
	ReasonWalletDeployment: ClassRetry, ReasonParseSignature: ClassPayer, ReasonV1Value: ClassPayer,
	ReasonV1Signature: ClassPayer, ReasonV1Recipient: ClassPayer, ReasonV1Undeployed: ClassPayer,
}

var unsupportedVersion = regexp.MustCompile(`^Unsupported x402 version: [0-9]{1,9}$`)

// UnsupportedVersion is the reason for an x402Version, at most nine digits, that nobody here knows.
func UnsupportedVersion(digits string) Reason { return Reason("Unsupported x402 version: " + digits) }

// Class says who can do something about the reason.
func (r Reason) Class() Class {
	for _, table := range []map[Reason]Class{exactClasses, permit2Classes, batchClasses} {
		if class, ok := table[r]; ok {
			return class
		}
	}
	if unsupportedVersion.MatchString(string(r)) {
		return ClassPayer
	}
	return ClassUnknown
}

// v1Reasons is what legacy code calls the reasons that it knows; those under their own name are the protocol's list.
var v1Reasons = map[Reason]Reason{
	ReasonInsufficientFunds: ReasonInsufficientFunds, ReasonInvalidNetwork: ReasonInvalidNetwork,
	ReasonInvalidPayload: ReasonInvalidPayload, ReasonInvalidRequirement: ReasonInvalidRequirement,
	ReasonInvalidScheme: ReasonInvalidScheme, ReasonInvalidPayment: ReasonInvalidPayment,
	ReasonPaymentExpired: ReasonPaymentExpired, ReasonUnsupportedScheme: ReasonUnsupportedScheme,
	ReasonInvalidVersion: ReasonInvalidVersion, ReasonTransactionState: ReasonTransactionState,
	ReasonUnexpectedSettle: ReasonUnexpectedSettle, ReasonUnexpectedVerify: ReasonUnexpectedVerify,
	ReasonDuplicate: ReasonDuplicate, ReasonValidBefore: ReasonValidBefore, ReasonValidAfter: ReasonValidAfter,
	ReasonV1Value: ReasonV1Value, ReasonV1Signature: ReasonV1Signature, ReasonV1Recipient: ReasonV1Recipient,
	ReasonV1Undeployed: ReasonV1Undeployed,

	ReasonValue: ReasonV1Value, ReasonValueV1: ReasonV1Value, ReasonSignature: ReasonV1Signature,
	ReasonParseSignature: ReasonV1Signature, ReasonRecipient: ReasonV1Recipient, ReasonFactory: ReasonV1Undeployed,
	ReasonBalance: ReasonInsufficientFunds, ReasonNetworkMismatch: ReasonInvalidNetwork, ReasonScheme: ReasonInvalidScheme,
	ReasonNoMatch: ReasonInvalidRequirement, ReasonMissingDomain: ReasonInvalidRequirement, ReasonTokenName: ReasonInvalidRequirement,
	ReasonTokenVersion: ReasonInvalidRequirement, ReasonAssetNotDeployed: ReasonInvalidRequirement,
	ReasonNotSupported: ReasonInvalidRequirement, ReasonSettlementPending: ReasonTransactionState,
	ReasonTransactionFailed: ReasonTransactionState, ReasonTransferEvent: ReasonTransactionState,
}

// V1 is the nearest reason that legacy v1 code knows; its parser has a closed list.
func (r Reason) V1() Reason {
	if known, ok := v1Reasons[r]; ok {
		return known
	}
	if r.Class() == ClassPayer {
		return ReasonInvalidPayment
	}
	return ReasonUnexpectedSettle
}
