"""Small harmless files that real programs made: javac, gcab, 7z, wat2wasm, qemu-img, genisoimage and gcc.

Each is one line of text, "inert", or an empty disk; a program that returns 0. Compressed, for most of them are zeros.
"""

from __future__ import annotations

import zlib
from base64 import b85decode
from typing import Final

_FILES: Final = {
    "class": (
        "c-"
        "oCp+iuf95IxhRc47?ay_8GoC2ivX%?B8GAX1e|;Uc9f4}IDst9BcEH?lXC@+bTTJb=`PegGeZ7$=bkN<gf%I~SjGc6K~Je%{^zc#"
        "UHZ3&^?1`&fiSSh^NBq815#S^LnwmK{rQUMa2Y8$zxUoEK3*(S_&Z9{fMxtzl|q%qTNp(t30BMVZ>iL}}Zyi4<|T!goIKQNj{oGZ"
        "sBrH@YM2CuOhLORdm0Wp3p(Xif=RR=5m3tYFo}nvZpC5LV~t6Wo3lMLH9il?cvVJS0$qkguDrB$S#;%lCu0Et50RjyRK#g<|?f<z"
        "gP6;I+&k>Btk6ft|*22I4-vHO8hk5&d`4UYTxMa<J=R5Bo04*@F)V<==Wr-<Y19$c}q(B0AP2L&E3j!Y9D7XhZ03B-"
        "3)!nBJft&er!g;@Pk-=fJ05IR4pTFe_0PQPfgah6NmPgSlUc-64X1s@bhaB28uLqDnaUuex2lAZ-"
        "5|%AFm9v5QR}&}=P$vJvHTi=(G(iS1(bJLn5LghzZjqa>k-"
        "$9OV<9*(FycwgaG?{0A)_=e?KPL4&hYqs%>ZGkg8ybn>~$YU?SbG*dXF9)O1*#"
    ),
    "cab": (
        "c-r#~c6MU`f;a{U(1Fs-jEoG7P&P;bh%LYX17)!{O%)h2^HPgS^hzp97-Yg+ss(`ZU=f9q)QS>?w9K4TE&#e$4&("
    ),
    "cab-mszip": (
        "c-r#~c6MU`f+PkA(1Fs-jEoG7P&P;bh$p}R17)!{O%)h2^HPgS^hzp97<8JZR*C@SoxM+=@z&J})bL!Z5$JLHjOSA(1^^8n5oG"
    ),
    "7z": (
        "c-k|s+Ou9=hJodfIKxj71_+3P(nX1d?-"
        "?2RGxJi5N)$>`D@qj7GILV77#LaD7#KN47}&WP85k8685wv47&y2XH|OMRVPIfol;mMR0)nCpnGAUhsSHI7B@B8%Tmi%k3?f{N46"
        "Ds~9DS?qGK#V>GAJ}GX=Gpk071kUdj"
    ),
    "wasm": (
        "c-mt~EY4+QU|?WmWlUgTtY>CoWMF4yWK3gV;9_HBVQ|#q1^`0x11|"
    ),
    "qcow2": (
        "c-rmIO-jTt6ae6K>H$1L&fp;g!Hp}|b(+D#Ok2{3jw_EXxUv4iY-Z}(?+XcekoR~mH<wp$A%r>{I{!SY-"
        "}viRA4FAH=4{^MPjFwq-"
        "p;8nA+%jC`*_!tWmT&6kn_V>mS(KdQ%SjRwy|wW6F1#99erP~huxUdG<8EC%YIC!ruwMgx2cWS7cuoEcWFA-"
        "e%Ln8`<T;aJv{VfI@x}h=iD{pwD6NxRc;>R!OQ^w000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000N~G7z5oCK000000000000000000000000000000000000000000000000000000000000000000000000000"
        ";NPph7XSbN000000000000000000000000000000000000000000000000000000000000000000000000000%-#VWJTP7"
    ),
    "vmdk": (
        "c-"
        "rmLO^ee|6b9goZY1DNUFasH`(i)rjEgQDJEDjn(_v<vX|6U*+ms|0yYr{pk1TY4z<~HX5N<f{NpkLme4c!{K8d2}@$QPAL<hf)OL"
        "Wq%&)PM56h+V5+n3Sby-"
        "}PzjU)awon%tfcgZBwv#MA(W%Z$0gm@FGx+quUUi|*kWPCdqy?L8wdA!c5uxj?DZ>@M%g{%oz+jSVH%W_pNie_HSrn}BMq;cFyE`"
        "Bz<XOg`A!0xT_<xSFmJv>XMU*BC$FOszBZkGAoq5Enc+JUkrOU|=8#GT3HJdX4Hw!0~+=0~>pcyoOmFBvE4Fg--yL%9r1we8Nfi("
        "-}U@_pF97tTYLAA;WKUQ&nIZtsU|G&p8io~@fu?YFis7kN0=o3dQge@xKt4Nr$>gVFFb^#cF^000000002+KwdZk0D%9>D@OnT00"
        "0000000000000000000000000000000000000000000000000000000000zytaXPz-I~"
    ),
    "vhd": (
        "c-"
        "l+O&r3}%$*f>tU|?ckWPk!D2BWDyNrkDor3|bL%;A|v*<fLT3I;eW&mst9G5`Pn?pDsh>aYo`y}}nWEZJERyJ9lKC>SyzxuUorv8"
        "XupKNLVj*%+W{fssLhf#LuEFJ+@4H3~+-@B{xx!H5RQqxJuY1^~)dHs$"
    ),
    "vdi": (
        "c-"
        "phEu~7(g^$k@B^Hm7TEGj8Y%u#U3EY4Q&%uP&BRj{+O<6^)E>IH7?V`N}tXkcUjlA{0&n1GlCix?OPpwO@|J96Ng`P{mE&xV;N4t"
        "}haoPW*v{Rf7bQmze$PRf}`3;&{(Q~v|OXoQVi006u_A^H"
    ),
    "vhdx": (
        "c-rmEF-zic90u@TK_M-"
        "fEsa8rb#yJa2bYj(+;FrRk$+Q=f}pyghG+={X|SbmX>F>d=C&hi=>^oQaI(6T{}R0dxz7ilFFZW(-7OdYlq%KeSNIun;de-f-"
        "S8uP3v<291poj5000000000000000000000000000000000000000000000000000000000000000000000000000{txA7t=LKZZ"
        "8Zw(6W#t$UGAh>`K#;p%hJu%<w17m{xG+Yd1}0mH%IEviLW09K9Y<B0000000000000000000000000000000000000000000000"
        "00000000000000000000000000000002P0Do1O@TK#+ew6H$W?GM%EPO6o^x^BNL-Ar8`WOwcla|@ZL#`}14r2d@v`eEQB$v6N20"
        "000000000000000000000000000000000000000000000000000000000000000000000000000Q9TvXrprUxHUZ(_tM_o%w#*vH"
        ";ZG1^Vh{h2<do9_U`b-e(fZ4mc4yjSsfZZ-"
        "V9;((+&Ut000000000000000000000000000000000000000000000000000000000000000000000000000K!4hfHY!JtThoJaF"
        "YVpUOt!;(vp7~be_c$3kdBvR?+#z=*G@8L+1t03)uGYj%@Afk?EnA(0000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "00000000000000007YS4>EF90s"
    ),
    "qed": (
        "c-"
        "rmBK?wjL6a~R27{E{(!2V@E2wn{!Gl#wGUNcEcKYh7(1ONa40000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "000000000000000000000000000000000000000D%7$LY)Be"
    ),
    "iso": (
        "c-rmT-"
        ")qxA902gE4^q09f#~*l_@tm+(rHHVskCXA*&otmu>AoQ2I7PC!6*ME|3q!pm7&G?=0^Q|NOH;D_Yx8gjyrN80000000000000000"
        "000000000000000000000000js74>(nc5;)ANh?XZ^u^Ho2pGbHDGuBzHV_wbgrQHbZNj)p~MU{Ioti4+rb3gV3y#W*F9WLU^>PA"
        "Guefd|H&VV$vJsadi^AS(Y4~4$C+!#(8;JR{13M=XtN1&Et#y%b0e%$1!hT&d#T!L2sOIGEZK2k|c{~?GJfxUe2aRXYI0oT8vk%a"
        "&#S27uPW-bwhk#RI$o?lYjoYourecX{VE9Z?d;(l7y{{<Tu+98twm1r^AEs<EH-y0001XSL1q)-S{5>004G-"
        "{2%K7>r4Ou006)a+g@Y$ZSUFR_VMi+yT3*>UWLPT#Nqxr-M@(l>xjK#n$N3tby2-"
        "beQ^M|e^;LuUzTyX__~ZAuRbkWz6byS000000000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "001wemrJBYr"
    ),
    "iso-joliet": (
        "c-rmV&uZL8901^1L)+j$2&IG)@@FV5B!_Nxoz%hfq-wRclHJuJ$-"
        "zGL<UpXwA^4C}Ag8wPk!R?!Zxs3n?P%8~ja|nCLK58X(`sil^V5vh9vGxuq!0iA000000000000000000000000000000000000D"
        "xXT8VrWLFezu-JMm=ssII1OsXuJ*k2jLH^qXGY8qS>ytIML*uU=PQ>fXKySC(5>!nrOv7slN_A*>wkANi;@i&@!J<uuzYV#>sg_4"
        "UE6t#K2_<)mnKo3@z7ye_h~s^g9PW*ly8+>S+mx7wa<j<QK{Sa|pQwZULL-s{hctZu5=t$Y0@-"
        "zq0*RBkR}y6P_GZZ{C`mu+l|Z2G}J?%H5&eK=fO8?4`1|6w>7gkuGRBaTNHwEuS|9X=T=2lIcJgfh&+cGwB=KbJg=LLI6wJ)!={{"
        "Qupp;+^OJuU}VRUe5nlms?j)n*UEY7R!fPHbap{O&OXrGRibIvPDTeD2ZVstfyrVehyn<oXTQ)FVk2nQhqnBZOTm-qpME2ENxdQ7"
        "sHKIax<mF)WSx%opMF!r#-4PLT9OuQHq@`dOCf1e?jJd%>SGre;>~O0002Mnbli-"
        "$L{<e0002a_W6J4eqZkb00000oayubtHJmG0001R*3bV#cYhrh00000;0*ii*gf{2pTG2Z|Mu&9>^Ac+dVl^E>iV<Zi}}vCy~kM>"
        "mpxut?zeKZ#ddtTcj2IsH<P@$(z~_{x^@`-"
        ">L7V|+Hv&W!vTcn;rcS>`o(2>@vvsu%lUFv)NQ}rX@4Ac{rx_hUg(8KPxhYf_xGRecfG%S(FMPFd2q#~_YS=Sz^CH)J@${z|EEUu"
        "?wm5Kei<HxCt)u<4f~;=)@Nx206w0ge$`uTe@$oC<^1R2#>Oyfw~AO-`TbazqwcY8v$m-"
        "7t!$R^^SWxQyqa{G2j!?}VzWJ;S9Kf5RUPM5Q|>ID{1y)${nixIY}S@}GoKV$Q^dTQwOQWAQQ72izWvjrY_^Jev2!yo@^W0}SzA`"
        "K*i_qfUi4#Xq4-x|>M}JqF1ze39Yi_J>fQLDnru&tm<}gTAEJBIT-V@XU*#-"
        "qO&87f{ks8RVR3Cc?(aR@j}IUHvbX9l0ssI20000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
        "00002Mr|2I#K(^u"
    ),
    "elf-static": (
        "c-rlny-EW?5XWcp4GJEZPLV4DDqfac2q+eE5H*bm8ias_<h;`aybC0I5P~39ws{CkOCLb+348+^Yr$HGm+WqGSrjeALgoj1e`c7u"
        "nca5gYG-dZMhHk^umvMavqrWh{C#~K68bhE8GcjYcNm+1DAtr-ieF0wjmywXMr>J6YFxObM)OAXWIwt!rG{`DN?t;on&_iOtSQZj"
        "aH;Z62QSP?!Ozhm`B~9_W&a3nDs!c*cm4iU?H%9U&pWqoHU$Jh5ClOG1VIo4`6JASM|=bXK@bE%5ClOG1o`J=g_7POkgi4+X49EI"
        ";dAW8@I1c`266^pDVI0(m2KB<)_vV9(jqP7&C;6V+Ga5@SA`3Jb{ZYlW_25=-"
        "(oI3_XBDN%?l^rbbvCq%YeF#le2c+bAg_=JkRynFWqM*JZTv2F>oexes1TK_=I9F0pBqg&-}-"
        "G30&ezJW=eN@X7j<{RA$C5}#3QD)I}8-w^rBU(}Ck{F8U7iv0C&`u_kXpFJc"
    ),
    "elf-object": (
        "c-"
        "pIX^>JfjWMqH=Mg}_u1P=iwAPG7^Ngf7n2Ezk~8Qh(ntrRp|Qj;<h^Arq?^o;ZjbPY|kQ&N)*jY<tQp+XS7A~1WZf*2Sp1Q?}x*f"
        "~IEgT!T^a?A{b0mwNl3?KhvlVb+TpaWJQ7D5t-+mWG{%#fRynFr-"
        "6Kxrl@h6BCg%G{E~Bp_W<1fervtdi7<5(d4L#F9h?y`<t|hyYMsVo^zH0fSz0er|4R9#BPIeo3mHyI-g-"
        "P%1f_L9Zw^Cs8joBR;JtF*lWgIzSp4Hf(6(4tT;587M-"
        "<n90<y4#XT3=+`0Oer5vtt)OBCXyVRLS_6lEMkICE(tkFQ?vH?qF`<bUKxuS$aiH;o!RZ<^yab>YNkI9WK+KM$UjoTJOjz8x07@r"
        "7X)b73qU-0xmH!wK`tbQ*5QlyZsKO)y`T?mlJq-"
    ),
}  # fmt: skip


def names() -> tuple[str, ...]:
    """What there is."""
    return tuple(_FILES)


def real(name: str) -> bytes:
    """The file that is called so."""
    return zlib.decompress(b85decode(_FILES[name]))
