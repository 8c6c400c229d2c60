package x402

// Reasons of Permit2, of gas sponsoring and of scheme upto.
const (
	// Scheme exact over Permit2.
	ReasonPermit2Spender       Reason = "invalid_permit2_spender"            // spender is not the proxy
	ReasonPermit2Recipient     Reason = "invalid_permit2_recipient_mismatch" // witness.to is not payTo
	ReasonPermit2Expired       Reason = "permit2_deadline_expired"           // expired, or about to
	ReasonPermit2NotYet        Reason = "permit2_not_yet_valid"              // not valid yet
	ReasonPermit2Amount        Reason = "permit2_amount_mismatch"            // permitted amount is not the amount
	ReasonPermit2Token         Reason = "permit2_token_mismatch"             // permitted token is not the asset
	ReasonPermit2Signature     Reason = "invalid_permit2_signature"          // the signature is not the payer's
	ReasonPermit2Proxy         Reason = "permit2_proxy_not_deployed"         // there is no proxy on this network
	ReasonPermit2Balance       Reason = "permit2_insufficient_balance"       // the payer's balance is too small
	ReasonPermit2Allowance     Reason = "permit2_allowance_required"         // the payer has not approved Permit2; the one reason that goes with HTTP 412
	ReasonPermit2Simulation    Reason = "permit2_simulation_failed"          // the transfer would revert for a reason not found
	ReasonPermit2InvalidAmount Reason = "permit2_invalid_amount"             // the proxy refused the amount
	ReasonPermit2Destination   Reason = "permit2_invalid_destination"        // the proxy refused the recipient
	ReasonPermit2Owner         Reason = "permit2_invalid_owner"              // the proxy refused the owner
	ReasonPermit2TooEarly      Reason = "permit2_payment_too_early"          // the proxy says: not valid yet
	ReasonPermit2Nonce         Reason = "permit2_invalid_nonce"              // the nonce is used: no proof of payment
	ReasonPermit2612Amount     Reason = "permit2_2612_amount_mismatch"       // the EIP-2612 permit is for another amount

	// Gas sponsoring.
	ReasonEIP2612Format     Reason = "invalid_eip2612_extension_format"    // the permit cannot be read
	ReasonEIP2612From       Reason = "eip2612_from_mismatch"               // the permit is not the payer's
	ReasonEIP2612Asset      Reason = "eip2612_asset_mismatch"              // the permit is for another asset
	ReasonEIP2612Spender    Reason = "eip2612_spender_not_permit2"         // the permit is for another spender
	ReasonEIP2612Expired    Reason = "eip2612_deadline_expired"            // the permit has expired, or is about to
	ReasonApprovalTarget    Reason = "erc20_approval_tx_wrong_target"      // the approval does not call the asset
	ReasonApprovalSelector  Reason = "erc20_approval_tx_wrong_selector"    // the approval is no approve
	ReasonApprovalSpender   Reason = "erc20_approval_tx_wrong_spender"     // the approval is for another spender
	ReasonApprovalSigner    Reason = "erc20_approval_tx_signer_mismatch"   // the approval is not the payer's
	ReasonApprovalParse     Reason = "erc20_approval_tx_parse_failed"      // the approval cannot be read
	ReasonApprovalCalldata  Reason = "erc20_approval_tx_invalid_calldata"  // the approval's arguments cannot be read
	ReasonApprovalSignature Reason = "erc20_approval_tx_invalid_signature" // the approval's signature is bad
	ReasonApprovalBroadcast Reason = "erc20_approval_broadcast_failed"     // the approval could not be sent

	// Scheme upto.
	ReasonUptoScheme       Reason = "invalid_upto_evm_scheme"                            // scheme is not upto on both sides
	ReasonUptoNetwork      Reason = "invalid_upto_evm_network_mismatch"                  // accepted and offered network differ
	ReasonUptoFacilitator  Reason = "upto_facilitator_mismatch"                          // the witness names a facilitator that is not this one
	ReasonUptoExceeds      Reason = "invalid_upto_evm_payload_settlement_exceeds_amount" // more was to be settled than was signed
	ReasonUptoPermitted    Reason = "upto_amount_exceeds_permitted"                      // the proxy says: more than was signed
	ReasonUptoUnauthorized Reason = "upto_unauthorized_facilitator"                      // sent from another key than the witness names
	ReasonUptoFailed       Reason = "invalid_upto_evm_transaction_failed"                // the transfer reverted or could not be sent
)

// permit2Classes: see Reason.Class.
var permit2Classes = map[Reason]Class{
	ReasonPermit2Spender: ClassPayer, ReasonPermit2Recipient: ClassPayer, ReasonPermit2Expired: ClassPayer,
	ReasonPermit2NotYet: ClassPayer, ReasonPermit2Amount: ClassPayer, ReasonPermit2Token: ClassPayer,
	ReasonPermit2Signature: ClassPayer, ReasonPermit2Proxy: ClassOurs, ReasonPermit2Balance: ClassPayer,
	ReasonPermit2Allowance: ClassPayer, ReasonPermit2Simulation: ClassPayer, ReasonPermit2InvalidAmount: ClassPayer,
	ReasonPermit2Destination: ClassPayer, ReasonPermit2Owner: ClassPayer, ReasonPermit2TooEarly: ClassPayer,
	ReasonPermit2Nonce: ClassPayer, ReasonPermit2612Amount: ClassPayer, ReasonEIP2612Format: ClassPayer,
	ReasonEIP2612From: ClassPayer, ReasonEIP2612Asset: ClassPayer, ReasonEIP2612Spender: ClassPayer,
	ReasonEIP2612Expired: ClassPayer, ReasonApprovalTarget: ClassPayer, ReasonApprovalSelector: ClassPayer,
	ReasonApprovalSpender: ClassPayer, ReasonApprovalSigner: ClassPayer, ReasonApprovalParse: ClassPayer,
	ReasonApprovalCalldata: ClassPayer, ReasonApprovalSignature: ClassPayer, ReasonApprovalBroadcast: ClassRetry,
	ReasonUptoScheme: ClassPayer, ReasonUptoNetwork: ClassPayer, ReasonUptoFacilitator: ClassPayer,
	ReasonUptoExceeds: ClassOurs, ReasonUptoPermitted: ClassOurs, ReasonUptoUnauthorized: ClassOurs,
	ReasonUptoFailed: ClassRetry,
}
