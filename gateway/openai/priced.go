package openai

import (
	"github.com/gin-gonic/gin"

	"p402.io/p402/settlement/x402"
)

// privateAnswer is the Cache-Control of everything that depends on a payment, refusals too: a shared cache that kept a paid answer
// would give it away, and one that kept an offer would sell what is gone.
const privateAnswer = "no-store, private"

// Priced marks an answer of a route where things are sold.
func Priced(c *gin.Context) {
	c.Header("Cache-Control", privateAnswer)
	c.Writer.Header().Add("Vary", x402.HeaderPaymentSignature+", "+x402.HeaderXPayment)
}
