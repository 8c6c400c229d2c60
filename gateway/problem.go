package gateway

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"

	"github.com/gin-gonic/gin"

	"p402.io/p402/internal/fault"
)

// Status is the HTTP status of a kind of refusal: the one table (HOUSE, "Errors").
func Status(k fault.Kind) int {
	switch k {
	case fault.KindInvalid:
		return http.StatusBadRequest
	case fault.KindImpossible:
		return http.StatusUnprocessableEntity
	case fault.KindTooLarge:
		return http.StatusRequestEntityTooLarge
	case fault.KindUnauthenticated:
		return http.StatusUnauthorized
	case fault.KindDenied:
		return http.StatusForbidden
	case fault.KindPaymentRequired, fault.KindPaymentFailed:
		return http.StatusPaymentRequired
	case fault.KindNotFound:
		return http.StatusNotFound
	case fault.KindConflict:
		return http.StatusConflict
	case fault.KindRateLimited:
		return http.StatusTooManyRequests
	case fault.KindUpstream:
		return http.StatusBadGateway
	case fault.KindUpstreamTimeout:
		return http.StatusGatewayTimeout
	case fault.KindUnavailable:
		return http.StatusServiceUnavailable
	case fault.KindMediaType:
		return http.StatusUnsupportedMediaType
	case fault.KindTooSlow:
		return http.StatusRequestTimeout
	case fault.KindInternal:
		return http.StatusInternalServerError
	}
	return http.StatusInternalServerError
}

// errorType is the coarse class in an error body; the words are OpenAI's, which its SDKs know.
func errorType(k fault.Kind) string {
	switch k {
	case fault.KindInvalid, fault.KindImpossible, fault.KindTooLarge, fault.KindConflict, fault.KindMediaType, fault.KindTooSlow:
		return "invalid_request_error"
	case fault.KindUnauthenticated:
		return "authentication_error"
	case fault.KindDenied:
		return "permission_error"
	case fault.KindPaymentRequired, fault.KindPaymentFailed:
		return "payment_required"
	case fault.KindNotFound:
		return "not_found_error"
	case fault.KindRateLimited:
		return "rate_limit_error"
	case fault.KindUpstream, fault.KindUpstreamTimeout:
		return "upstream_error"
	case fault.KindUnavailable:
		return "service_unavailable"
	case fault.KindInternal:
		return "server_error"
	}
	return "server_error"
}

// What a client did that reading its body met; none of it is ours to answer for with a 5xx.
var (
	errTooSlow = fault.New(fault.KindTooSlow, "REQUEST_TIMEOUT", "the body did not arrive in time")
	errCutBody = fault.New(fault.KindInvalid, "BODY_INCOMPLETE", "the body ended before its stated length")
)

// Refusal finds what to tell the caller. An error that nobody classified becomes INTERNAL_ERROR: its text stays here.
func Refusal(err error) *fault.Error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return fault.New(fault.KindTooLarge, "BODY_TOO_LARGE", "the body has more than "+strconv.FormatInt(tooLarge.Limit, 10)+" bytes")
	}
	f, classified := fault.As(err)
	switch {
	case classified && (f.Kind == fault.KindUnavailable || f.Kind == fault.KindUpstream || f.Kind == fault.KindUpstreamTimeout):
		return f // its cause is a connection of ours that broke or was too slow, not the client's
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errTooSlow
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errCutBody
	}
	if classified && f.Kind != fault.KindInternal {
		return f
	}
	return fault.New(fault.KindInternal, "INTERNAL_ERROR", "an internal error happened; quote the request id when you ask about it")
}

// ErrorBody is OpenAI's error object with our additions; /v1 and /api/v2 share it. The message names the field as well as
// param does, as most clients show the message alone.
func ErrorBody(f *fault.Error, requestID string) gin.H {
	body := gin.H{"type": errorType(f.Kind), "code": f.Code, "message": f.Message, "param": nil, "request_id": requestID}
	if f.Param != "" {
		body["param"] = f.Param
		body["message"] = f.Param + ": " + f.Message
	}
	if len(f.Details) > 0 {
		body["details"] = f.Details
	}
	return gin.H{"error": body}
}

// Fail ends a request with a refusal as JSON.
func Fail(c *gin.Context, log *slog.Logger, err error) {
	f := Refused(c, log, err)
	c.AbortWithStatusJSON(Status(f.Kind), ErrorBody(f, RequestID(c)))
}

// Refused is the refusal to render, with the headers that go with it set: what every surface's errors share. Refusals
// that are our own fault are logged here, once.
func Refused(c *gin.Context, log *slog.Logger, err error) *fault.Error {
	f := Refusal(err)
	if f.Kind == fault.KindInternal {
		log.ErrorContext(c.Request.Context(), "request failed", "request_id", RequestID(c), "route", c.FullPath(), "err", err)
	}
	if f.Kind == fault.KindUnauthenticated {
		c.Header("WWW-Authenticate", `Bearer realm="p402"`)
	}
	if f.Kind == fault.KindUnavailable || f.Kind == fault.KindRateLimited {
		c.Header("Retry-After", "1")
	}
	switch {
	case f.Code == "IDEMPOTENCY_IN_PROGRESS":
		c.Header("Retry-After", "1") // the one conflict that time cures
	case f.Kind == fault.KindDenied || f.Kind == fault.KindConflict:
		c.Header("X-Should-Retry", "false") // OpenAI's SDKs obey it: a conflict or a denial is not worth a retry
	case f.Kind == fault.KindTooSlow || f.Kind == fault.KindTooLarge:
		c.Header("Connection", "close") // what is left of the body is not worth reading
	}
	return f
}
