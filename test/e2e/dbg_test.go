package e2e
import ("testing";"time")
func dbgLat(t testing.TB, lanes []*lane) {
	for i:=0;i<fragments;i++ {
		var m,sum,mr time.Duration; k:=0
		for _,x:=range lanes { for n:=range x.sent { d:=x.beacon[n][i].Sub(x.sent[n][i]); m=max(m,d); sum+=d; k++; mr=max(mr,x.relay[n][i].Sub(x.sent[n][i])) } }
		t.Logf("%2d mean %6.2f max %6.2f maxrelay %6.2f", i, ms(sum/time.Duration(k)), ms(m), ms(mr))
	}
}
