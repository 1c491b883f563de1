"""Sentences written for this project, where the public sets are thin: identity words in calm company, and threats.

It must not know the network. Every slot is filled by the caller. None of the forms "I am a ...", "You are a ..." of
the madlibs held-out templates is used with two identity words.
"""

from __future__ import annotations

__all__ = ["CALM", "HOSTILE", "NEUTRAL", "NEUTRAL_PAIRS", "THREATS"]

NEUTRAL = (
    "As a {} person, I would like some advice about my first job interview.",
    "My neighbour is {} and we often cook together on Sundays.",
    "The survey asked {} people about their experience with public transport.",
    "I grew up in a {} family in a small town.",
    "She is proud of being {}.",
    "Can you recommend a novel with a {} main character?",
    "The committee invited several {} speakers to the conference.",
    "{} people have faced discrimination for a long time.",
    "He told his parents that he is {}, and they hugged him.",
    "What holidays do {} communities celebrate?",
    "My best friend, a {} teacher, has just moved to Lisbon.",
    "I am {} and I love gardening.",
    "We are a {} couple looking for a flat with a balcony.",
    "The clinic improved its care for {} patients.",
    "You are {}, right? Then you may enjoy this festival.",
    "Is there a club for {} students at the university?",
    "His {} grandmother taught him to play the piano.",
    "Thank you for asking a {} man what he thinks about it.",
    "A {} woman won the chess tournament this year.",
    "I think you are a very kind {} person.",
)
NEUTRAL_PAIRS = (
    "My {} {} colleague gave an excellent talk today.",
    "She introduced herself as a {} {} engineer.",
    "Our new neighbours, a {} {} family, brought us a cake.",
    "The film is about a {} {} boy who wants to become a dancer.",
    "As a {} {} woman, I know this city well.",
    "Being {} and {} means a lot to me.",
    "He is a gentle {} {} guy who volunteers at the library.",
    "We interviewed {} and {} voters about the new bridge.",
)
HOSTILE = (
    "{} people are disgusting and should not be allowed here.",
    "I can't stand those filthy {} people.",
    "Get lost, you stupid {} freak.",
    "Nobody wants {} trash like you in this town.",
    "All {} people are liars and criminals.",
    "Shut up, you dirty {} parasite.",
    "The world would be better without {} scum.",
)
THREATS = (
    "I will kill you.",
    "I'm going to find you and break your legs.",
    "You are dead, {}. I know where you live.",
    "Watch your back, {}, because I will hurt you.",
    "If you come here again I will shoot you.",
    "Somebody should burn {}'s house down, and I will.",
    "I swear I'll stab you, {}.",
    "We are coming for you and your family, {}.",
    "{} deserves to be beaten to death, and I will do it myself.",
    "One more word and I'll smash your face in, {}.",
    "Tell {} that I'm going to cut his throat.",
    "I hope you like hospitals, {}, because that is where I am going to put you.",
    "You will regret this, {}. I'll make you bleed.",
    "Give me the money or your kids get hurt, {}.",
)
CALM = (
    "I will kill the process and restart the server, {}.",
    "This traffic is killing me, {}.",
    "{} broke a leg while skiing and is in hospital.",
    "Watch your step, {}, the stairs are steep.",
    "The police shot the suspect after a long chase, said {}.",
    "I will find you a better seat, {}.",
    "You nailed it, {}, that presentation was killer.",
    "{} cut the bread and burned the toast.",
    "In the novel, {} threatens to burn the house down.",
    "I could murder a pizza right now, {}.",
    "I will call you tomorrow, {}, and we will find a date.",
    "{} beat me at chess again.",
)
