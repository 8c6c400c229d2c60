package anthropic

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"p402.io/p402/gateway"
	"p402.io/p402/internal/fault"
)

// errorType is the class in an error body by its status, in the words of Anthropic's API.
func errorType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusPaymentRequired:
		return "billing_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusGatewayTimeout:
		return "timeout_error"
	case http.StatusServiceUnavailable:
		return "overloaded_error"
	}
	if status >= http.StatusInternalServerError {
		return "api_error"
	}
	return "invalid_request_error"
}

// errorBody is Anthropic's error object; our code stands beside its type, where its SDKs leave it be.
func errorBody(f *fault.Error, requestID string) gin.H {
	inner := gin.H{"type": errorType(gateway.Status(f.Kind)), "message": f.Message, "code": f.Code}
	if f.Param != "" {
		inner["param"] = f.Param
	}
	if len(f.Details) > 0 {
		inner["details"] = f.Details
	}
	return gin.H{"type": "error", "error": inner, "request_id": requestID}
}

// fail ends a request with a refusal in Anthropic's form.
func (s *Surface) fail(c *gin.Context, err error) {
	f := gateway.Refused(c, s.Log, err)
	c.AbortWithStatusJSON(gateway.Status(f.Kind), errorBody(f, gateway.RequestID(c)))
}
