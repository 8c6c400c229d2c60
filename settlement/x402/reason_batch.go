package x402

// Reasons of scheme batch-settlement. None is given here: they come from outside facilitators and servers.
const (
	// Binding and server state.
	ReasonChannelMismatch    Reason = "invalid_batch_settlement_evm_channel_id_mismatch"              // the id is not the one of the configuration
	ReasonChannelInvalid     Reason = "invalid_batch_settlement_evm_channel_id_invalid"               // the id has not its form
	ReasonCumulativeMismatch Reason = "invalid_batch_settlement_evm_cumulative_amount_mismatch"       // the ceiling is not charged + amount; the answer says where the channel stands
	ReasonChannelBusy        Reason = "invalid_batch_settlement_evm_channel_busy"                     // another request holds the channel
	ReasonChargeExceeds      Reason = "invalid_batch_settlement_evm_charge_exceeds_signed_cumulative" // more was to be charged than was signed
	ReasonBelowMinDeposit    Reason = "invalid_batch_settlement_evm_deposit_below_min_deposit"        // the deposit is smaller than announced
	ReasonMissingChannel     Reason = "invalid_batch_settlement_evm_missing_channel"                  // the server has no such channel
	ReasonStateUnavailable   Reason = "invalid_batch_settlement_evm_verification_state_unavailable"   // the channel's state could not be read

	// Configuration.
	ReasonBatchScheme        Reason = "invalid_batch_settlement_evm_scheme"                       // scheme is not batch-settlement on both sides
	ReasonBatchNetwork       Reason = "invalid_batch_settlement_evm_network_mismatch"             // accepted and offered network differ
	ReasonBatchPayload       Reason = "invalid_batch_settlement_evm_payload_type"                 // an unknown payload type
	ReasonBatchReceiver      Reason = "invalid_batch_settlement_evm_receiver_mismatch"            // receiver is not payTo
	ReasonBatchAuthorizer    Reason = "invalid_batch_settlement_evm_receiver_authorizer_mismatch" // receiverAuthorizer is not the offered one
	ReasonBatchToken         Reason = "invalid_batch_settlement_evm_token_mismatch"               // token is not the asset
	ReasonWithdrawDelay      Reason = "invalid_batch_settlement_evm_withdraw_delay_mismatch"      // withdrawDelay is not the offered one
	ReasonWithdrawDelayRange Reason = "invalid_batch_settlement_evm_withdraw_delay_out_of_range"  // withdrawDelay is outside 900..2592000 s

	// Voucher.
	ReasonVoucherSignature Reason = "invalid_batch_settlement_evm_voucher_signature"          // the voucher is not the authorizer's
	ReasonBatchRead        Reason = "invalid_batch_settlement_evm_rpc_read_failed"            // the chain could not be read
	ReasonChannelNotFound  Reason = "invalid_batch_settlement_evm_channel_not_found"          // the channel holds nothing
	ReasonExceedsBalance   Reason = "invalid_batch_settlement_evm_cumulative_exceeds_balance" // the ceiling is above the escrow
	ReasonBelowClaimed     Reason = "invalid_batch_settlement_evm_cumulative_below_claimed"   // the ceiling is claimed already

	// Deposit.
	ReasonBatchMissingDomain    Reason = "invalid_batch_settlement_evm_missing_eip712_domain"              // the offer lacks extra.name or extra.version
	ReasonERC3009Required       Reason = "invalid_batch_settlement_evm_erc3009_authorization_required"     // the deposit has no EIP-3009 authorization
	ReasonBatchValidBefore      Reason = "invalid_batch_settlement_evm_payload_authorization_valid_before" // expired, or about to
	ReasonBatchValidAfter       Reason = "invalid_batch_settlement_evm_payload_authorization_valid_after"  // not valid yet
	ReasonReceiveSignature      Reason = "invalid_batch_settlement_evm_receive_authorization_signature"    // the deposit's signature is not the payer's
	ReasonBatchFactory          Reason = "invalid_batch_settlement_evm_eip6492_factory_not_allowed"        // an undeployed wallet whose factory is not allowed
	ReasonBatchPermit2Required  Reason = "invalid_batch_settlement_evm_permit2_authorization_required"     // the deposit has no Permit2 authorization
	ReasonBatchPermit2Spender   Reason = "invalid_batch_settlement_evm_permit2_invalid_spender"            // spender is not the collector
	ReasonBatchPermit2Amount    Reason = "invalid_batch_settlement_evm_permit2_amount_mismatch"            // permitted amount is not the deposit
	ReasonBatchPermit2Expired   Reason = "invalid_batch_settlement_evm_permit2_deadline_expired"           // expired, or about to
	ReasonBatchPermit2Signature Reason = "invalid_batch_settlement_evm_permit2_invalid_signature"          // the deposit's signature is not the payer's
	ReasonBatchPermit2Allowance Reason = "invalid_batch_settlement_evm_permit2_allowance_required"         // the payer has not approved Permit2
	ReasonBatch2612Amount       Reason = "invalid_batch_settlement_evm_eip2612_amount_mismatch"            // the EIP-2612 permit is for another amount
	ReasonBatchApproval         Reason = "invalid_batch_settlement_evm_erc20_approval_unavailable"         // a sponsored approval is not offered
	ReasonBatchBalance          Reason = "invalid_batch_settlement_evm_insufficient_balance"               // the payer's balance is too small
	ReasonDepositSimulation     Reason = "invalid_batch_settlement_evm_deposit_simulation_failed"          // the deposit would revert
	ReasonDepositFailed         Reason = "invalid_batch_settlement_evm_deposit_transaction_failed"         // the deposit reverted or could not be sent

	// Claim, settle, refund.
	ReasonClaimSimulation   Reason = "invalid_batch_settlement_evm_claim_simulation_failed"     // the claim would revert
	ReasonClaimFailed       Reason = "invalid_batch_settlement_evm_claim_transaction_failed"    // the claim reverted or could not be sent
	ReasonSettleSimulation  Reason = "invalid_batch_settlement_evm_settle_simulation_failed"    // the sweep would revert
	ReasonSettleFailed      Reason = "invalid_batch_settlement_evm_settle_transaction_failed"   // the sweep reverted or could not be sent
	ReasonNothingToSettle   Reason = "invalid_batch_settlement_evm_nothing_to_settle"           // all that was claimed is swept
	ReasonRefundNoBalance   Reason = "invalid_batch_settlement_evm_refund_no_balance"           // nothing is left to give back
	ReasonRefundAmount      Reason = "invalid_batch_settlement_evm_refund_amount_invalid"       // the amount cannot be given back
	ReasonRefundSimulation  Reason = "invalid_batch_settlement_evm_refund_simulation_failed"    // the refund would revert
	ReasonRefundFailed      Reason = "invalid_batch_settlement_evm_refund_transaction_failed"   // the refund reverted or could not be sent
	ReasonAuthorizerMissing Reason = "invalid_batch_settlement_evm_authorizer_not_configured"   // the facilitator holds no authorizer key
	ReasonAuthorizerAddress Reason = "invalid_batch_settlement_evm_authorizer_address_mismatch" // the facilitator holds another authorizer's key
)

// batchClasses: see Reason.Class.
var batchClasses = map[Reason]Class{
	ReasonChannelMismatch: ClassPayer, ReasonChannelInvalid: ClassPayer, ReasonCumulativeMismatch: ClassPayer,
	ReasonChannelBusy: ClassRetry, ReasonChargeExceeds: ClassOurs, ReasonBelowMinDeposit: ClassPayer,
	ReasonMissingChannel: ClassPayer, ReasonStateUnavailable: ClassRetry, ReasonBatchScheme: ClassPayer,
	ReasonBatchNetwork: ClassPayer, ReasonBatchPayload: ClassPayer, ReasonBatchReceiver: ClassPayer,
	ReasonBatchAuthorizer: ClassPayer, ReasonBatchToken: ClassPayer, ReasonWithdrawDelay: ClassPayer,
	ReasonWithdrawDelayRange: ClassPayer, ReasonVoucherSignature: ClassPayer, ReasonBatchRead: ClassRetry,
	ReasonChannelNotFound: ClassPayer, ReasonExceedsBalance: ClassPayer, ReasonBelowClaimed: ClassPayer,
	ReasonBatchMissingDomain: ClassOurs, ReasonERC3009Required: ClassPayer, ReasonBatchValidBefore: ClassPayer,
	ReasonBatchValidAfter: ClassPayer, ReasonReceiveSignature: ClassPayer, ReasonBatchFactory: ClassPayer,
	ReasonBatchPermit2Required: ClassPayer, ReasonBatchPermit2Spender: ClassPayer, ReasonBatchPermit2Amount: ClassPayer,
	ReasonBatchPermit2Expired: ClassPayer, ReasonBatchPermit2Signature: ClassPayer, ReasonBatchPermit2Allowance: ClassPayer,
	ReasonBatch2612Amount: ClassPayer, ReasonBatchApproval: ClassPayer, ReasonBatchBalance: ClassPayer,
	ReasonDepositSimulation: ClassPayer, ReasonDepositFailed: ClassRetry, ReasonClaimSimulation: ClassOurs,
	ReasonClaimFailed: ClassRetry, ReasonSettleSimulation: ClassOurs, ReasonSettleFailed: ClassRetry,
	ReasonNothingToSettle: ClassOurs, ReasonRefundNoBalance: ClassPayer, ReasonRefundAmount: ClassPayer,
	ReasonRefundSimulation: ClassOurs, ReasonRefundFailed: ClassRetry, ReasonAuthorizerMissing: ClassOurs,
	ReasonAuthorizerAddress: ClassOurs,
}
